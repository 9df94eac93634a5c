;; Hands over a list of 50,000 header fields, none of which has a name, again and again.
(import "wasi:http/types@0.2.0" "[static]fields.from-list" (func $from_list (param i32 i32 i32)))
(memory (export "memory") 200)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $at i32)
  (loop $next
    (i32.store offset=65536 (local.get $at) (i32.const 64))
    (i32.store offset=65544 (local.get $at) (i32.const 64))
    (i32.store offset=65548 (local.get $at) (i32.const 1))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const 800000))))
  (loop $again
    (call $from_list (i32.const 65536) (i32.const 50000) (i32.const 128))
    (br $again))
  unreachable)
