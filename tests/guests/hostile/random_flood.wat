;; Asks for as many random bytes as it may at once, without end.
(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (loop $again
    (call $random (i64.const 65536) (i32.const 128))
    (br $again))
  unreachable)
