;; Returns an address beyond its memory.
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0x7ffffff8)
