;; Writes all of the largest table it may have, again and again.
(table $t 65536 funcref)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (loop $again
    (table.fill $t (i32.const 0) (ref.func $f) (i32.const 65536))
    (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 65535))
    (br $again))
  unreachable)
(elem declare func $f)
(func $f)
