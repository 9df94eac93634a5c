;; Says that it begins, by a progress report of none, counts to four million, which takes some milliseconds, and completes
;; without a result.
(module
  (import "kiln:job/context@0.1.0" "progress" (func $progress (param i32 i32 i32 i32)))
  (memory (export "memory") 2)
  ;; Hands out memory from 4096 on and never takes it back: an instance lives for one call.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $count i32)
    (call $progress (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (loop $again
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $count) (i32.const 4000000))))
    i32.const 0))
