;; Makes requests with paths of 60,000 bytes, sends none and drops none.
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
  (func $set_path (param i32 i32 i32 i32) (result i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (memory.fill (i32.const 65536) (i32.const 47 (; / ;)) (i32.const 60000))
  (loop $again
    (br_if $again (i32.eqz
      (call $set_path (call $request (call $fields)) (i32.const 1) (i32.const 65536) (i32.const 60000)))))
  unreachable)
