;; Does something with kiln:state as its payload describes, the JSON string "ACTION BUCKET KEY":
;; get, the value; now, adds 1; later, adds 1 on completion; new, sets "x" if there is no value; fail, adds 1 on completion,
;; and traps; wait, adds 1 now, and 1 more on completion after half a second. Their first letters tell, and those of "new"
;; and "now" their second.
;; Completes with [ERROR, NUMBER]: 0 or 1 + its kind; the number added to, or the bytes of the value.
(module
  (import "kiln:state/values@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32)))
  (import "kiln:state/values@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))
  (import "kiln:state/values@0.1.0" "write-on-completion" (func $later (param i32 i32 i32 i32 i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 96) "x")
  (global $free (mut i32) (i32.const 4096))
  (global $word (mut i32) (i32.const 0)) ;; where the payload's next word starts
  (global $end (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 1024)) ;; where the result's next character goes
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))

  ;; Start and length of the next word, up to a space or the end.
  (func $next (result i32 i32)
    (local $start i32) (local $at i32)
    (local.set $start (global.get $word))
    (local.set $at (local.get $start))
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (local.get $at) (global.get $end)))
        (br_if $done (i32.eq (i32.load8_u (local.get $at)) (i32.const 32)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $more)))
    (global.set $word (i32.add (local.get $at) (i32.const 1)))
    local.get $start
    (i32.sub (local.get $at) (local.get $start)))
  (func $put (param $char i32)
    (i32.store8 (global.get $out) (local.get $char))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))
  (func $put_number (param $number i32)
    (if (i32.ge_u (local.get $number) (i32.const 10))
      (then (call $put_number (i32.div_u (local.get $number) (i32.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))
  (func $result (param $error i32) (param $number i32) (result i32)
    (call $put (i32.const 91))
    (call $put_number (local.get $error))
    (call $put (i32.const 44))
    (call $put_number (local.get $number))
    (call $put (i32.const 93))
    (i32.store8 (i32.const 0) (i32.const 0)) ;; ok(some(text))
    (i32.store8 (i32.const 8) (i32.const 1))
    (i32.store (i32.const 12) (i32.const 1024))
    (i32.store (i32.const 16) (i32.sub (global.get $out) (i32.const 1024)))
    i32.const 0)

  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $action i32) (local $second i32) (local $bucket i32) (local $bucket_len i32) (local $key i32) (local $key_len i32)
    (global.set $word (i32.add (local.get $payload) (i32.const 1)))
    (global.set $end (i32.sub (i32.add (local.get $payload) (local.get $payload_len)) (i32.const 1)))
    (local.set $action (i32.load8_u (global.get $word)))
    (local.set $second (i32.load8_u offset=1 (global.get $word)))
    (call $next) (drop) (drop)
    (call $next) (local.set $bucket_len) (local.set $bucket)
    (call $next) (local.set $key_len) (local.set $key)
    ;; One change, or one key, at 512. The answer comes to 640.
    (i32.store (i32.const 512) (local.get $key))
    (i32.store (i32.const 516) (local.get $key_len))
    (if (i32.eq (local.get $action) (i32.const 103 (; g ;))) (then
      (call $get (local.get $bucket) (local.get $bucket_len) (i32.const 512) (i32.const 1) (i32.const 640))
      (if (i32.load8_u (i32.const 640)) (then
        (return (call $result (i32.add (i32.load8_u (i32.const 644)) (i32.const 1)) (i32.const 0)))))
      (if (i32.eqz (i32.load8_u (i32.load (i32.const 644)))) (then
        (return (call $result (i32.const 0) (i32.const 0)))))
      (return (call $result (i32.const 0) (i32.load offset=12 (i32.load (i32.const 644)))))))
    (i32.store8 (i32.const 520) (i32.const 2)) ;; add 1
    (i64.store (i32.const 528) (i64.const 1))
    (if (i32.eq (local.get $second) (i32.const 101 (; e ;))) (then
      (i32.store8 (i32.const 520) (i32.const 0)) ;; set "x", if absent
      (i32.store (i32.const 528) (i32.const 96))
      (i32.store (i32.const 532) (i32.const 1))
      (i32.store8 (i32.const 536) (i32.const 1))))
    (if (i32.eq (local.get $action) (i32.const 110 (; n ;))) (then
      (call $write (local.get $bucket) (local.get $bucket_len) (i32.const 512) (i32.const 1) (i32.const 640))
      (if (i32.load8_u (i32.const 640)) (then
        (return (call $result (i32.add (i32.load8_u (i32.const 644)) (i32.const 1)) (i32.const 0)))))
      (return (call $result (i32.const 0) (i32.load offset=8 (i32.load (i32.const 644)))))))
    (if (i32.eq (local.get $action) (i32.const 119 (; w ;))) (then
      (call $write (local.get $bucket) (local.get $bucket_len) (i32.const 512) (i32.const 1) (i32.const 640))
      (call $block (call $subscribe (i64.const 500000000)))))
    (call $later (local.get $bucket) (local.get $bucket_len) (i32.const 512) (i32.const 1) (i32.const 640))
    (if (i32.load8_u (i32.const 640)) (then
      (return (call $result (i32.add (i32.load8_u (i32.const 644)) (i32.const 1)) (i32.const 0)))))
    (if (i32.eq (local.get $action) (i32.const 102 (; f ;))) (then (unreachable)))
    (call $result (i32.const 0) (i32.const 0))))
