;; Completes with true if it finds what it then leaves behind: near the start of its memory, and near its end.
(module
  (memory (export "memory") 16)
  (data (i32.const 64) "false")
  (data (i32.const 72) "true")
  ;; Hands out memory from 4096 on and never takes it back: an instance lives for one call.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $found i32)
    (local.set $found (i32.or (i32.load (i32.const 65536)) (i32.load (i32.const 1000000))))
    (i32.store (i32.const 65536) (i32.const 1))
    (i32.store (i32.const 1000000) (i32.const 1))
    (i32.store8 (i32.const 8) (i32.const 1))
    (i32.store (i32.const 12) (select (i32.const 72) (i32.const 64) (local.get $found)))
    (i32.store (i32.const 16) (select (i32.const 4) (i32.const 5) (local.get $found)))
    i32.const 0))
