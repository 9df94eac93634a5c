;; Calls itself with a thousand values to keep at each level.
(func $deeper (param v128) (result v128)
  (v128.xor
    (v128.xor (call $deeper (i64x2.add (local.get 0) (v128.const i64x2 1 2))) (local.get 0))
    (v128.xor (call $deeper (i64x2.mul (local.get 0) (v128.const i64x2 3 5))) (local.get 0))))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (i64.store (i32.const 4096) (i64x2.extract_lane 0 (call $deeper (v128.const i64x2 1 1))))
  i32.const 0)
