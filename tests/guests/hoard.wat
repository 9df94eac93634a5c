;; Makes ten requests to http://AUTHORITY/, where its payload is the JSON string "AUTHORITY", and keeps every answer unread.
;; Completes with the number of answers, in two digits after a 1, times 100, plus the number of those that met the limit on
;; connections: 10802 are eight and two.
(module
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
  (memory (export "memory") 2)
  (data (i32.const 8) "\01\00\00\00\40\00\00\00\05\00\00\00") ;; ok(some(text))
  (data (i32.const 64) "10000")
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $count (param $digit i32)
    (i32.store8 (local.get $digit) (i32.add (i32.load8_u (local.get $digit)) (i32.const 1))))
  (func (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $request i32) (local $response i32) (local $left i32)
    (local.set $left (i32.const 10))
    (loop $again
      (local.set $request (call $request (call $fields)))
      (drop (call $set_scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))) ;; http
      (drop (call $set_authority (local.get $request) (i32.const 1)
        (i32.add (local.get $payload) (i32.const 1)) (i32.sub (local.get $payload_len) (i32.const 2))))
      (call $send (local.get $request) (i32.const 0) (i32.const 0) (i32.const 128))
      (local.set $response (i32.load (i32.const 136)))
      (call $block (call $subscribe (local.get $response)))
      (call $get (local.get $response) (i32.const 256))
      (if (i32.load8_u (i32.const 272))
        (then (if (i32.eq (i32.load8_u (i32.const 280)) (i32.const 11)) (then (call $count (i32.const 68)))))
        (else (call $count (i32.const 66))))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    i32.const 0))
