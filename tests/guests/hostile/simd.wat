;; Computes with vectors, fused where the machine can, and completes.
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (v128.store (i32.const 4096)
    (f32x4.relaxed_madd (v128.load (i32.const 64)) (v128.load (i32.const 80)) (v128.load (i32.const 96))))
  i32.const 0)
