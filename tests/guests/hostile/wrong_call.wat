;; Calls a function as if it were one of another type.
(table 1 funcref)
(elem (i32.const 0) $f)
(type $g (func (param i64)))
(func $f)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call_indirect (type $g) (i64.const 0) (i32.const 0))
  unreachable)
