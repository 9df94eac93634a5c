;; Completes with the value of the key "answer" of its configuration.
(module
  (import "wasi:config/store@0.2.0-rc.1" "get" (func $get (param i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "answer")
  ;; Hands out memory from 4096 on and never takes it back: an instance lives for one call.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (call $get (i32.const 64) (i32.const 6) (i32.const 128))
    (i32.store (i32.const 8) (i32.load (i32.const 132))) ;; none or some
    (i32.store (i32.const 12) (i32.load (i32.const 136)))
    (i32.store (i32.const 16) (i32.load (i32.const 140)))
    i32.const 0))
