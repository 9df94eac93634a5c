;; Does with TCP connections what its payload says, the JSON string "HOST PORT STEPS", a letter for each step:
;;   c connect        w wait until the last connection stands   t begin TLS on it, for HOST
;;   s send "hello\n" b send 64 KiB again and again              f finish
;;   r read up to 64 bytes                                       e read to the end, 8 bytes at a time
;;   p wait until one of all is readable, for 50 ms              n the same, until the last is writable
;;   x close the last connection                                 z wait for ever
;;   o go on with the connection before the last, which may be that of an earlier attempt in the same instance
;; Completes with [CONNECTIONS, BYTES READ, TIMES READY, ERROR]: the error is 0, or 1 + its kind, after which nothing follows.
(module
  (import "kiln:tcp/connections@0.1.0" "connect" (func $connect (param i32 i32 i32 i32)))
  (import "kiln:tcp/connections@0.1.0" "connected" (func $connected (param i32 i32)))
  (import "kiln:tcp/connections@0.1.0" "start-tls" (func $start_tls (param i32 i32 i32 i32)))
  (import "kiln:tcp/connections@0.1.0" "write" (func $write (param i32 i32 i32 i32)))
  (import "kiln:tcp/connections@0.1.0" "read" (func $read (param i32 i32 i32)))
  (import "kiln:tcp/connections@0.1.0" "finish" (func $finish (param i32 i32)))
  (import "kiln:tcp/connections@0.1.0" "close" (func $close (param i32)))
  (import "kiln:tcp/connections@0.1.0" "wait" (func $wait (param i32 i32 i32 i32 i32 i32 i32 i64 i32)))
  (memory (export "memory") 4)
  (data (i32.const 128) "hello\n")
  (global $free (mut i32) (i32.const 131072))
  (global $word (mut i32) (i32.const 0)) ;; where the payload's next word starts
  (global $end (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 1024)) ;; where the result's next character goes
  (global $made (mut i32) (i32.const 0))
  (global $last (mut i32) (i32.const 0))
  (global $bytes (mut i32) (i32.const 0))
  (global $ready (mut i32) (i32.const 0))
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
  (func $number (param $at i32) (param $len i32) (result i32)
    (local $number i32)
    (loop $more
      (if (local.get $len) (then
        (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 10))
          (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
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
  (func $result (param $error i32) (result i32)
    (call $put (i32.const 91))
    (call $put_number (global.get $made))
    (call $put (i32.const 44))
    (call $put_number (global.get $bytes))
    (call $put (i32.const 44))
    (call $put_number (global.get $ready))
    (call $put (i32.const 44))
    (call $put_number (local.get $error))
    (call $put (i32.const 93))
    (i32.store (i32.const 8) (i32.const 1)) ;; ok(some(text))
    (i32.store (i32.const 12) (i32.const 1024))
    (i32.store (i32.const 16) (i32.sub (global.get $out) (i32.const 1024)))
    i32.const 0)
  ;; What the call before answered: 0, or 1 + the kind of its error.
  (func $error (result i32)
    (if (result i32) (i32.load8_u (i32.const 32))
      (then (i32.add (i32.load8_u (i32.const 36)) (i32.const 1)))
      (else (i32.const 0))))
  ;; Reads once, and returns the number of bytes.
  (func $take (param $most i32) (result i32)
    (global.set $free (i32.const 196608)) ;; what was read before is not kept
    (call $read (global.get $last) (local.get $most) (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then (return (i32.const 0))))
    (global.set $bytes (i32.add (global.get $bytes) (i32.load (i32.const 40))))
    (i32.load (i32.const 40)))
  ;; Waits, and counts if something is ready.
  (func $await (param $readable i32) (param $writable i32) (param $timed i32)
    (call $wait (i32.const 3072) (local.get $readable)
      (i32.sub (i32.add (i32.const 3072) (i32.mul (global.get $made) (i32.const 4))) (i32.const 4)) (local.get $writable)
      (i32.const 0) (i32.const 0) (local.get $timed) (i64.const 50) (i32.const 32))
    (global.set $ready (i32.add (global.get $ready) (i32.load8_u (i32.const 32))))
    (i32.store8 (i32.const 32) (i32.const 0)))

  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $host i32) (local $host_len i32) (local $port i32) (local $step i32) (local $error i32)
    (global.set $out (i32.const 1024))
    (global.set $bytes (i32.const 0))
    (global.set $word (i32.add (local.get $payload) (i32.const 1)))
    (global.set $end (i32.sub (i32.add (local.get $payload) (local.get $payload_len)) (i32.const 1)))
    (call $next) (local.set $host_len) (local.set $host)
    (local.set $port (call $number (call $next)))
    (block $done
      (loop $again
        (br_if $done (i32.ge_u (global.get $word) (global.get $end)))
        (local.set $step (i32.load8_u (global.get $word)))
        (global.set $word (i32.add (global.get $word) (i32.const 1)))
        (i32.store8 (i32.const 32) (i32.const 0))
        (if (i32.eq (local.get $step) (i32.const 99 (; c ;))) (then
          (call $connect (local.get $host) (local.get $host_len) (local.get $port) (i32.const 32))
          (if (i32.eqz (i32.load8_u (i32.const 32))) (then
            (global.set $last (i32.load (i32.const 36)))
            (i32.store (i32.add (i32.const 3072) (i32.mul (global.get $made) (i32.const 4))) (global.get $last))
            (global.set $made (i32.add (global.get $made) (i32.const 1)))))))
        (if (i32.eq (local.get $step) (i32.const 119 (; w ;))) (then
          (call $connected (global.get $last) (i32.const 32))))
        (if (i32.eq (local.get $step) (i32.const 116 (; t ;))) (then
          (call $start_tls (global.get $last) (local.get $host) (local.get $host_len) (i32.const 32))))
        (if (i32.eq (local.get $step) (i32.const 115 (; s ;))) (then
          (call $write (global.get $last) (i32.const 128) (i32.const 6) (i32.const 32))))
        (if (i32.eq (local.get $step) (i32.const 98 (; b ;))) (then
          (loop $more
            (call $write (global.get $last) (i32.const 65536) (i32.const 65536) (i32.const 32))
            (br_if $more (i32.eqz (i32.load8_u (i32.const 32)))))))
        (if (i32.eq (local.get $step) (i32.const 102 (; f ;))) (then
          (call $finish (global.get $last) (i32.const 32))))
        (if (i32.eq (local.get $step) (i32.const 114 (; r ;))) (then
          (drop (call $take (i32.const 64)))))
        (if (i32.eq (local.get $step) (i32.const 101 (; e ;))) (then
          (loop $more (br_if $more (call $take (i32.const 8))))))
        (if (i32.eq (local.get $step) (i32.const 112 (; p ;))) (then
          (call $await (global.get $made) (i32.const 0) (i32.const 1))))
        (if (i32.eq (local.get $step) (i32.const 110 (; n ;))) (then
          (call $await (i32.const 0) (i32.const 1) (i32.const 1))))
        (if (i32.eq (local.get $step) (i32.const 122 (; z ;))) (then
          (call $await (global.get $made) (i32.const 0) (i32.const 0))))
        (if (i32.eq (local.get $step) (i32.const 120 (; x ;))) (then
          (call $close (global.get $last))))
        (if (i32.eq (local.get $step) (i32.const 111 (; o ;))) (then
          (global.set $last (i32.load
            (i32.add (i32.const 3064) (i32.mul (global.get $made) (i32.const 4)))))))
        (if (local.tee $error (call $error)) (then (return (call $result (local.get $error)))))
        (br $again)))
    (call $result (i32.const 0))))
