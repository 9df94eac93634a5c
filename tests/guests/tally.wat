;; Answers with how often it was called in this instance, a digit, and whether its payload says to do so: "t" traps,
;; "g" grows by 17 MiB first, "r" asks to be retried.
(module
  (memory (export "memory") 2)
  (global $calls (mut i32) (i32.const 0))
  ;; The payload comes last but for the metadata; what came before is not looked at again.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $what i32)
    (global.set $free (i32.const 4096))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    ;; The payload is a string: the first byte is its quote.
    (local.set $what (i32.load8_u offset=1 (local.get $payload)))
    (if (i32.eq (local.get $what) (i32.const 116 (; t ;))) (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 103 (; g ;))) (then (drop (memory.grow (i32.const 272)))))
    (i32.store8 (i32.const 32) (i32.add (global.get $calls) (i32.const 48)))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 32))
    (if (i32.eq (local.get $what) (i32.const 114 (; r ;)))
      (then
        ;; err(retry("N"))
        (i32.store8 (i32.const 0) (i32.const 1))
        (i32.store (i32.const 16) (i32.const 32))
        (i32.store (i32.const 20) (i32.const 1)))
      (else
        ;; ok(some("N"))
        (i32.store8 (i32.const 8) (i32.const 1))
        (i32.store (i32.const 12) (i32.const 32))
        (i32.store (i32.const 16) (i32.const 1))))
    i32.const 0))
