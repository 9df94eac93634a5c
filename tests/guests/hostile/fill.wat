;; Takes all the memory it may have, and writes all of it again and again: no single write can be interrupted.
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (drop (memory.grow (i32.const 2046)))
  (loop $again
    (memory.fill (i32.const 4096) (i32.const 7) (i32.const 134213632))
    (br $again))
  unreachable)
