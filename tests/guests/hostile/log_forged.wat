;; Logs words that would be lines of their own and clear the screen, and completes.
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
(data (i32.const 64) "no\0a\0d\1b[2J2026-01-01T00:00:00Z INFO kiln: job completed \00\c2\9b\c2\85")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $log (i32.const 2) (i32.const 64) (i32.const 65) (i32.const 64) (i32.const 65))
  i32.const 0)
