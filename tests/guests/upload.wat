;; Posts to http://AUTHORITY/, where its payload is the JSON string "AUTHORITY", a body without end. Once it can write no
;; more, it completes with 1 + the code of the error, in two digits; with 00 for any answer.
(module
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-method"
    (func $set_method (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
    (func $set_scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
    (func $set_authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.body" (func $body (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $stream (param i32 i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]request-options" (func $options (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-between-bytes-timeout"
    (func $set_between_bytes (param i32 i32 i64) (result i32)))
  (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $send (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
    (func $subscribe (param i32) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get" (func $get (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 8) "\01\00\00\00\40\00\00\00\04\00\00\00") ;; ok(some(text))
  (data (i32.const 64) "\2200\22")
  (global $free (mut i32) (i32.const 16384))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $request i32) (local $response i32) (local $stream i32) (local $code i32) (local $options i32)
    (local.set $request (call $request (call $fields)))
    (drop (call $set_method (local.get $request) (i32.const 2) (i32.const 0) (i32.const 0))) ;; post
    (drop (call $set_scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))) ;; http
    (drop (call $set_authority (local.get $request) (i32.const 1)
      (i32.add (local.get $payload) (i32.const 1)) (i32.sub (local.get $payload_len) (i32.const 2))))
    (call $body (local.get $request) (i32.const 32))
    (call $stream (i32.load (i32.const 36)) (i32.const 32))
    (local.set $stream (i32.load (i32.const 36)))
    (local.set $options (call $options))
    (drop (call $set_between_bytes (local.get $options) (i32.const 1) (i64.const 200000000)))
    (call $send (local.get $request) (i32.const 1) (local.get $options) (i32.const 128))
    (local.set $response (i32.load (i32.const 136)))
    (loop $more
      (call $write (local.get $stream) (i32.const 8192) (i32.const 4096) (i32.const 32))
      (br_if $more (i32.eqz (i32.load8_u (i32.const 32)))))
    (call $block (call $subscribe (local.get $response)))
    (call $get (local.get $response) (i32.const 256))
    (if (i32.load8_u (i32.const 272)) (then
      (local.set $code (i32.add (i32.load8_u (i32.const 280)) (i32.const 1)))
      (i32.store8 (i32.const 65) (i32.add (i32.const 48) (i32.div_u (local.get $code) (i32.const 10))))
      (i32.store8 (i32.const 66) (i32.add (i32.const 48) (i32.rem_u (local.get $code) (i32.const 10))))))
    i32.const 0))
