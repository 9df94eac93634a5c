;; Calls an empty place of a table.
(table 8 funcref)
(type $f (func))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call_indirect (type $f) (i32.const 3))
  unreachable)
