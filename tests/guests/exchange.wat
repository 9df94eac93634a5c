;; Makes requests through kiln:http as its payload describes, the JSON string "METHOD URL MILLISECONDS TIMES": the time until
;; the head of the answer must be there, if it is not 0, and how many requests are begun at once.
;; With the method PUT it streams a body of its own, "01234567" three times.
;; Waits for whichever answers first, and reads its body to the end in pieces of up to eight bytes.
;; Completes with [STATUS, BODY BYTES, PIECES, ERROR]: 0 for no error, 1 + its kind if there was no answer, 101 + its kind if
;; the body broke off.
(module
  (import "kiln:http/client@0.1.0" "start" (func $start
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i64 i32 i64 i32)))
  (import "kiln:http/client@0.1.0" "wait" (func $wait (param i32 i32 i32 i64 i32)))
  (import "kiln:http/client@0.1.0" "response" (func $response (param i32 i32)))
  (import "kiln:http/client@0.1.0" "read" (func $read (param i32 i32 i32)))
  (import "kiln:http/client@0.1.0" "write" (func $write (param i32 i32 i32 i32)))
  (import "kiln:http/client@0.1.0" "finish" (func $finish (param i32 i32)))
  (memory (export "memory") 4)
  (data (i32.const 128) "01234567")
  ;; One header: accept: text/plain
  (data (i32.const 96) "accepttext/plain")
  (data (i32.const 512) "\60\00\00\00\06\00\00\00\66\00\00\00\0a\00\00\00")
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
  (func $number (param $at i32) (param $len i32) (result i64)
    (local $number i64)
    (loop $more
      (if (local.get $len) (then
        (local.set $number (i64.add (i64.mul (local.get $number) (i64.const 10))
          (i64.extend_i32_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $more))))
    local.get $number)
  (func $put (param $char i32)
    (i32.store8 (global.get $out) (local.get $char))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))
  (func $put_number (param $number i32)
    (if (i32.ge_u (local.get $number) (i32.const 10))
      (then (call $put_number (i32.div_u (local.get $number) (i32.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))
  (func $result (param $status i32) (param $bytes i32) (param $pieces i32) (param $error i32) (result i32)
    (call $put (i32.const 91))
    (call $put_number (local.get $status))
    (call $put (i32.const 44))
    (call $put_number (local.get $bytes))
    (call $put (i32.const 44))
    (call $put_number (local.get $pieces))
    (call $put (i32.const 44))
    (call $put_number (local.get $error))
    (call $put (i32.const 93))
    (i32.store (i32.const 8) (i32.const 1)) ;; ok(some(text))
    (i32.store (i32.const 12) (i32.const 1024))
    (i32.store (i32.const 16) (i32.sub (global.get $out) (i32.const 1024)))
    i32.const 0)

  ;; Writes the body of an exchange, and ends it.
  (func $upload (param $exchange i32)
    (local $left i32)
    (local.set $left (i32.const 3))
    (loop $more
      (call $write (local.get $exchange) (i32.const 128) (i32.const 8) (i32.const 32))
      (if (i32.load8_u (i32.const 32)) (then (unreachable)))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (call $finish (local.get $exchange) (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then (unreachable))))

  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $method i32) (local $method_len i32) (local $url i32) (local $url_len i32) (local $time i64) (local $times i32)
    (local $streams i32) (local $begun i32) (local $exchange i32) (local $status i32) (local $bytes i32) (local $pieces i32)
    (global.set $word (i32.add (local.get $payload) (i32.const 1)))
    (global.set $end (i32.sub (i32.add (local.get $payload) (local.get $payload_len)) (i32.const 1)))
    (call $next) (local.set $method_len) (local.set $method)
    (call $next) (local.set $url_len) (local.set $url)
    (local.set $time (call $number (call $next)))
    (local.set $times (i32.wrap_i64 (call $number (call $next))))
    (local.set $streams (i32.and (i32.eq (i32.load8_u (local.get $method)) (i32.const 80 (; P ;)))
      (i32.eq (i32.load8_u offset=1 (local.get $method)) (i32.const 85 (; U ;)))))
    (loop $again
      (call $start (local.get $method) (local.get $method_len) (local.get $url) (local.get $url_len)
        (i32.const 512) (i32.const 1) (i32.shl (local.get $streams) (i32.const 1)) (i32.const 0) (i32.const 0)
        (i32.const 0) (i64.const 0)
        (i64.ne (local.get $time) (i64.const 0)) (local.get $time)
        (i32.const 0) (i64.const 0) (i32.const 32))
      (if (i32.load8_u (i32.const 32)) (then
        (return (call $result (i32.const 0) (local.get $begun) (i32.const 0)
          (i32.add (i32.load8_u (i32.const 36)) (i32.const 1))))))
      (local.set $exchange (i32.load (i32.const 36)))
      (i32.store (i32.add (i32.const 3072) (i32.mul (local.get $begun) (i32.const 4))) (local.get $exchange))
      (if (local.get $streams) (then (call $upload (local.get $exchange))))
      (local.set $begun (i32.add (local.get $begun) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $begun) (local.get $times))))
    (call $wait (i32.const 3072) (local.get $begun) (i32.const 0) (i64.const 0) (i32.const 32))
    (local.set $exchange (i32.load (i32.const 36)))
    (call $response (local.get $exchange) (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then
      (return (call $result (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.add (i32.load8_u (i32.const 36)) (i32.const 1))))))
    (local.set $status (i32.load16_u (i32.const 36)))
    (loop $more
      (global.set $free (i32.const 65536)) ;; what was read before is not kept
      (call $read (local.get $exchange) (i32.const 8) (i32.const 32))
      (if (i32.load8_u (i32.const 32)) (then
        (return (call $result (local.get $status) (local.get $bytes) (local.get $pieces)
          (i32.add (i32.load8_u (i32.const 36)) (i32.const 101))))))
      (if (i32.load (i32.const 40)) (then
        (local.set $bytes (i32.add (local.get $bytes) (i32.load (i32.const 40))))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 1)))
        (br $more))))
    (call $result (local.get $status) (local.get $bytes) (local.get $pieces) (i32.const 0))))
