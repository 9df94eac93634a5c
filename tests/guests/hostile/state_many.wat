;; Hands over as many keys as there is room for, of a bucket that nobody has granted.
(import "kiln:state/values@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32)))
(memory (export "memory") 1024)
(data (i32.const 96) "a")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $get (i32.const 96) (i32.const 1) (i32.const 65536) (i32.const 8000000) (i32.const 128))
  (i32.const 0))
