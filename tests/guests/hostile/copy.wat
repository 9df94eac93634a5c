;; Takes all the memory it may have, and copies one half of it onto the other again and again.
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (drop (memory.grow (i32.const 2046)))
  (loop $again
    (memory.copy (i32.const 0x4000000) (i32.const 0) (i32.const 0x4000000))
    (br $again))
  unreachable)
