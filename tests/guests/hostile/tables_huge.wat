;; Starts with two tables: each is within the limit, both are not.
(table 40000 funcref)
(table 40000 funcref)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0)
