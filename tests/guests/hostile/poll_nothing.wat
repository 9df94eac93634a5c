;; Waits for the first of no things.
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $poll (i32.const 64) (i32.const 0) (i32.const 128))
  i32.const 0)
