;; Takes all the memory there can be, at once.
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (drop (memory.grow (i32.const 65534)))
  unreachable)
