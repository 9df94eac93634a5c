;; Makes the request that its payload describes, the JSON string "METHOD AUTHORITY PATH MILLISECONDS CREDENTIALS":
;; the path - stands for none, the time is what it asks for where it is not 0, and CREDENTIALS (which may be missing) with
;; the value of its first environment variable (if it has one) is its authorization header.
;; Follows a redirect to http://AUTHORITY, and reads the answer to its end.
;; Completes with [STATUS, BODY BYTES, ERROR]: 0 for no error, 1 + the error code if there was no answer,
;; 101 + the error code if its body broke off, 100 if that has no code.
(module
  (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]fields.get" (func $field (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-method"
    (func $set_method (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
    (func $set_scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
    (func $set_authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
    (func $set_path (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]request-options" (func $options (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-connect-timeout"
    (func $set_connect (param i32 i32 i64) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-first-byte-timeout"
    (func $set_first_byte (param i32 i32 i64) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-between-bytes-timeout"
    (func $set_between_bytes (param i32 i32 i64) (result i32)))
  (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $send (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
    (func $subscribe (param i32) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get" (func $get (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.status" (func $status (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.headers" (func $headers (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.consume" (func $consume (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $stream (param i32 i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
  (import "wasi:http/types@0.2.0" "http-error-code" (func $error_code (param i32 i32)))
  (memory (export "memory") 4)
  (data (i32.const 96) "authorization")
  (data (i32.const 112) "location")
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
  (func $result (param $status i32) (param $bytes i32) (param $error i32) (result i32)
    (call $put (i32.const 91))
    (call $put_number (local.get $status))
    (call $put (i32.const 44))
    (call $put_number (local.get $bytes))
    (call $put (i32.const 44))
    (call $put_number (local.get $error))
    (call $put (i32.const 93))
    (i32.store (i32.const 8) (i32.const 1)) ;; ok(some(text))
    (i32.store (i32.const 12) (i32.const 1024))
    (i32.store (i32.const 16) (i32.sub (global.get $out) (i32.const 1024)))
    i32.const 0)

  ;; Appends the authorization header: the rest of the payload, and the environment's value.
  (func $authorize (param $fields i32)
    (local $len i32) (local $variable i32)
    (if (i32.ge_u (global.get $word) (global.get $end)) (then (return)))
    (local.set $len (i32.sub (global.get $end) (global.get $word)))
    (memory.copy (i32.const 2048) (global.get $word) (local.get $len))
    (call $environment (i32.const 32))
    (if (i32.load (i32.const 36)) (then
      (local.set $variable (i32.load (i32.const 32)))
      (memory.copy (i32.add (i32.const 2048) (local.get $len)) (i32.load offset=8 (local.get $variable))
        (i32.load offset=12 (local.get $variable)))
      (local.set $len (i32.add (local.get $len) (i32.load offset=12 (local.get $variable))))))
    (call $append (local.get $fields) (i32.const 96) (i32.const 13) (i32.const 2048) (local.get $len) (i32.const 48)))

  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $method i32) (local $method_len i32) (local $authority i32) (local $authority_len i32)
    (local $path i32) (local $path_len i32) (local $time i64) (local $options i32) (local $asked i32)
    (local $credentials i32) (local $fields i32) (local $request i32) (local $response i32) (local $status i32)
    (local $body i32) (local $bytes i32)
    (global.set $word (i32.add (local.get $payload) (i32.const 1)))
    (global.set $end (i32.sub (i32.add (local.get $payload) (local.get $payload_len)) (i32.const 1)))
    (call $next) (local.set $method_len) (local.set $method)
    (call $next) (local.set $authority_len) (local.set $authority)
    (call $next) (local.set $path_len) (local.set $path)
    (local.set $time (i64.mul (call $number (call $next)) (i64.const 1000000)))
    (local.set $credentials (global.get $word))
    (loop $again
      (local.set $fields (call $fields))
      (global.set $word (local.get $credentials))
      (call $authorize (local.get $fields))
      (local.set $request (call $request (local.get $fields)))
      (drop (call $set_method (local.get $request) (i32.const 9) (local.get $method) (local.get $method_len)))
      (drop (call $set_scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))) ;; http
      (drop (call $set_authority (local.get $request) (i32.const 1) (local.get $authority) (local.get $authority_len)))
      (if (i32.ne (i32.load8_u (local.get $path)) (i32.const 45)) (then
        (drop (call $set_path (local.get $request) (i32.const 1) (local.get $path) (local.get $path_len)))))
      (local.set $asked (i64.ne (local.get $time) (i64.const 0)))
      (if (local.get $asked) (then
        (local.set $options (call $options))
        (drop (call $set_connect (local.get $options) (i32.const 1) (local.get $time)))
        (drop (call $set_first_byte (local.get $options) (i32.const 1) (local.get $time)))
        (drop (call $set_between_bytes (local.get $options) (i32.const 1) (local.get $time)))))
      (call $send (local.get $request) (local.get $asked) (local.get $options) (i32.const 128))
      (if (i32.load8_u (i32.const 128)) (then
        (return (call $result (i32.const 0) (i32.const 0) (i32.add (i32.load8_u (i32.const 136)) (i32.const 1))))))
      (local.set $response (i32.load (i32.const 136)))
      (call $block (call $subscribe (local.get $response)))
      (call $get (local.get $response) (i32.const 256))
      (if (i32.load8_u (i32.const 272)) (then
        (return (call $result (i32.const 0) (i32.const 0) (i32.add (i32.load8_u (i32.const 280)) (i32.const 1))))))
      (local.set $response (i32.load (i32.const 280)))
      (local.set $status (call $status (local.get $response)))
      (call $field (call $headers (local.get $response)) (i32.const 112) (i32.const 8) (i32.const 32))
      (if (i32.load (i32.const 36)) (then
        (local.set $body (i32.load (i32.const 32)))
        (local.set $authority (i32.add (i32.load (local.get $body)) (i32.const 7))) ;; after http://
        (local.set $authority_len (i32.sub (i32.load offset=4 (local.get $body)) (i32.const 7)))
        (br $again))))
    (call $consume (local.get $response) (i32.const 32))
    (call $stream (i32.load (i32.const 36)) (i32.const 32))
    (local.set $body (i32.load (i32.const 36)))
    (loop $more
      (global.set $free (i32.const 65536)) ;; what was read before is not kept
      (call $read (local.get $body) (i64.const 65536) (i32.const 32))
      (if (i32.eqz (i32.load8_u (i32.const 32))) (then
        (local.set $bytes (i32.add (local.get $bytes) (i32.load (i32.const 40))))
        (br $more))))
    (if (i32.load8_u (i32.const 36)) ;; closed: the end
      (then (return (call $result (local.get $status) (local.get $bytes) (i32.const 0)))))
    (call $error_code (i32.load (i32.const 40)) (i32.const 256))
    (if (i32.eqz (i32.load8_u (i32.const 256)))
      (then (return (call $result (local.get $status) (local.get $bytes) (i32.const 100)))))
    (call $result (local.get $status) (local.get $bytes) (i32.add (i32.load8_u (i32.const 264)) (i32.const 101)))))
