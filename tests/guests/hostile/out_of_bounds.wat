;; Reads beyond the end of its memory, at the highest address there is.
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (i32.load offset=0xffffffff (i32.const -1)))
