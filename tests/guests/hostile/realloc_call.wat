;; Calls the host when asked where its job may be written, which is not allowed there.
(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (drop (call $now)) i32.const 4096)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0)
