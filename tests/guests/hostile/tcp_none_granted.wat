;; Connects to the address at which clouds serve credentials, of which it was granted nothing.
(import "kiln:tcp/connections@0.1.0" "connect" (func $connect (param i32 i32 i32 i32)))
(data (i32.const 64) "169.254.169.254")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $connect (i32.const 64) (i32.const 15) (i32.const 80) (i32.const 128))
  unreachable)
