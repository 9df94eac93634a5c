;; Starts with ten million table elements.
(table 10000000 funcref)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0)
