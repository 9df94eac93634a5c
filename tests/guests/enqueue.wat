;; Enqueues what its payload says: an array of [NAME, PAYLOAD, OPTIONS], each a JSON string without escapes, except the
;; options, which have ' in place of " and may be empty for none. After a last word that is no array: "fail" traps,
;; "wait" waits for half a second first. Completes with an array of the ids, or the numbers of errors.
(module
  (import "kiln:flow/jobs@0.1.0" "enqueue"
    (func $enqueue (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (memory (export "memory") 4)
  (global $free (mut i32) (i32.const 65536))
  (global $at (mut i32) (i32.const 0)) ;; how far the payload is read
  (global $end (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 1024)) ;; where the result's next character goes
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $put (param $char i32)
    (i32.store8 (global.get $out) (local.get $char))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))
  (func $copy (param $from i32) (param $len i32)
    (memory.copy (global.get $out) (local.get $from) (local.get $len))
    (global.set $out (i32.add (global.get $out) (local.get $len))))
  ;; Start and length of the next string, without its quotes; 0 and 0 at the end. Its ' become ".
  (func $next (result i32 i32)
    (local $start i32)
    (block $found
      (loop $more
        (if (i32.ge_u (global.get $at) (global.get $end)) (then (return (i32.const 0) (i32.const 0))))
        (br_if $found (i32.eq (i32.load8_u (global.get $at)) (i32.const 34)))
        (global.set $at (i32.add (global.get $at) (i32.const 1)))
        (br $more)))
    (global.set $at (i32.add (global.get $at) (i32.const 1)))
    (local.set $start (global.get $at))
    (block $done
      (loop $more
        (br_if $done (i32.eq (i32.load8_u (global.get $at)) (i32.const 34)))
        (if (i32.eq (i32.load8_u (global.get $at)) (i32.const 39)) (then
          (i32.store8 (global.get $at) (i32.const 34))))
        (global.set $at (i32.add (global.get $at) (i32.const 1)))
        (br $more)))
    local.get $start
    (i32.sub (global.get $at) (local.get $start))
    (global.set $at (i32.add (global.get $at) (i32.const 1))))

  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $what i32) (local $what_len i32) (local $with i32) (local $with_len i32) (local $opt i32) (local $opt_len i32)
    (global.set $at (local.get $payload))
    (global.set $end (i32.add (local.get $payload) (local.get $payload_len)))
    (call $put (i32.const 91))
    (block $done
      (loop $more
        (call $next) (local.set $what_len) (local.set $what)
        (br_if $done (i32.eqz (local.get $what)))
        (call $next) (local.set $with_len) (local.set $with)
        (if (i32.eqz (local.get $with)) (then
          (if (i32.eq (i32.load8_u (local.get $what)) (i32.const 102 (; f ;))) (then (unreachable)))
          (call $block (call $subscribe (i64.const 500000000)))
          (br $done)))
        (call $next) (local.set $opt_len) (local.set $opt)
        (call $enqueue (local.get $what) (local.get $what_len) (local.get $with) (local.get $with_len)
          (i32.ne (local.get $opt_len) (i32.const 0)) (local.get $opt) (local.get $opt_len) (i32.const 512))
        (if (i32.gt_u (global.get $out) (i32.const 1025)) (then (call $put (i32.const 44))))
        (if (i32.load8_u (i32.const 512))
          (then (call $put (i32.add (i32.const 48) (i32.load8_u (i32.const 516)))))
          (else
            (call $put (i32.const 34))
            (call $copy (i32.load (i32.const 516)) (i32.load (i32.const 520)))
            (call $put (i32.const 34))))
        (br $more)))
    (call $put (i32.const 93))
    (i32.store8 (i32.const 0) (i32.const 0)) ;; ok(some(text))
    (i32.store8 (i32.const 8) (i32.const 1))
    (i32.store (i32.const 12) (i32.const 1024))
    (i32.store (i32.const 16) (i32.sub (global.get $out) (i32.const 1024)))
    i32.const 0))
