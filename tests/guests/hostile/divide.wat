;; Divides by zero.
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (i32.div_u (i32.const 1) (i32.load (i32.const 0))))
