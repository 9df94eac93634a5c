;; Logs at a level there is none.
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $log (i32.const 77) (i32.const 64) (i32.const 0) (i32.const 64) (i32.const 0))
  i32.const 0)
