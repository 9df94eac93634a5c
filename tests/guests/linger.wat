;; Answers with how often it was called in this instance, a digit, and says "still" on standard output, by a handle of the
;; first call. That call makes a request to http://AUTHORITY/, where its payload is the JSON string "AUTHORITY", and leaves
;; the answer's body unread; later ones read from it, and trap unless it is closed.
(module
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
    (func $set_scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
    (func $set_authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $send (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
    (func $subscribe (param i32) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get" (func $get (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.consume" (func $consume (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $stream (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 8) "\01\00\00\00\40\00\00\00\01\00\00\00") ;; ok(some(text))
  (data (i32.const 64) "0")
  (data (i32.const 72) "still")
  (global $free (mut i32) (i32.const 4096))
  (global $out (mut i32) (i32.const 0))
  (global $body (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $request i32) (local $response i32)
    (i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.const 1)))
    (if (i32.eqz (global.get $body))
      (then
        (global.set $out (call $stdout))
        (local.set $request (call $request (call $fields)))
        (drop (call $set_scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))) ;; http
        (drop (call $set_authority (local.get $request) (i32.const 1)
          (i32.add (local.get $payload) (i32.const 1)) (i32.sub (local.get $payload_len) (i32.const 2))))
        (call $send (local.get $request) (i32.const 0) (i32.const 0) (i32.const 128))
        (local.set $response (i32.load (i32.const 136)))
        (call $block (call $subscribe (local.get $response)))
        (call $get (local.get $response) (i32.const 256))
        (if (i32.load8_u (i32.const 272)) (then unreachable))
        (call $consume (i32.load (i32.const 280)) (i32.const 128))
        (call $stream (i32.load (i32.const 132)) (i32.const 128))
        (global.set $body (i32.load (i32.const 132))))
      (else
        (call $read (global.get $body) (i64.const 16) (i32.const 128))
        (if (i32.eqz (i32.load8_u (i32.const 128))) (then unreachable)) ;; ok: bytes
        (if (i32.ne (i32.load8_u (i32.const 132)) (i32.const 1)) (then unreachable)))) ;; not closed, but failed
    (call $write (global.get $out) (i32.const 72) (i32.const 5) (i32.const 128))
    i32.const 0))
