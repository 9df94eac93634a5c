;; Logs what is no text.
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
(data (i32.const 64) "\c0\80\ff")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $log (i32.const 2) (i32.const 64) (i32.const 0) (i32.const 64) (i32.const 3))
  i32.const 0)
