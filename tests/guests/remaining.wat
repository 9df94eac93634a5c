;; Reports progress of 40 %, then completes with the milliseconds it has left, in a string of five digits.
(module
  (import "kiln:job/context@0.1.0" "progress" (func $progress (param i32 i32 i32 i32)))
  (import "kiln:job/context@0.1.0" "remaining-ms" (func $remaining_ms (result i64)))
  (memory (export "memory") 2)
  (data (i32.const 8) "\01\00\00\00\3f\00\00\00\07\00\00\00") ;; ok(some(text))
  (data (i32.const 63) "\22.....\22")
  (data (i32.const 80) "half")
  ;; Hands out memory from 4096 on and never takes it back: an instance lives for one call.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $ms i64) (local $at i32)
    (call $progress (i32.const 40) (i32.const 1) (i32.const 80) (i32.const 4))
    (local.set $ms (call $remaining_ms))
    (local.set $at (i32.const 69))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $ms) (i64.const 10)))))
      (local.set $ms (i64.div_u (local.get $ms) (i64.const 10)))
      (br_if $digit (i32.gt_u (local.get $at) (i32.const 64))))
    i32.const 0))
