;; Logs lines of 20 MB without end.
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
(memory (export "memory") 400)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (memory.fill (i32.const 64) (i32.const 27) (i32.const 20000000))
  (loop $again
    (call $log (i32.const 2) (i32.const 64) (i32.const 4) (i32.const 64) (i32.const 20000000))
    (br $again))
  unreachable)
