;; Asks once whether the host shuts down, then fails: try again in 1500 ms.
(module
  (import "kiln:job/context@0.1.0" "is-cancelled" (func $is_cancelled (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\01\00\00\00\00\00\00\00") ;; err
  (data (i32.const 8) "\01") ;; which failure
  (data (i32.const 16) "\40\00\00\00\11\00\00\00") ;; its message
  (data (i32.const 24) "\dc\05\00\00\00\00\00\00") ;; 1500
  (data (i32.const 64) "too many requests")
  ;; Hands out memory from 4096 on and never takes it back: an instance lives for one call.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (drop (call $is_cancelled))
    i32.const 0))
