;; Logs a line of 100 MB.
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
(memory (export "memory") 1600)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $log (i32.const 2) (i32.const 64) (i32.const 4) (i32.const 64) (i32.const 100000000))
  i32.const 0)
