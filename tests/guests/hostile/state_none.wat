;; Reads what nobody has granted.
(import "kiln:state/values@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32)))
(data (i32.const 96) "a\1b\0ab")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $get (i32.const 96) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 128))
  (i32.const 0))
