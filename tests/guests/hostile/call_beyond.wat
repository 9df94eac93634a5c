;; Calls a place beyond the end of a table.
(table 1 funcref)
(type $f (func))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call_indirect (type $f) (i32.const 0x7fffffff))
  unreachable)
