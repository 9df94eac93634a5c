;; Names a request's method with a mebibyte of letters, and completes with 1 if that is refused, 0 if not.
(module
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-method"
    (func $set_method (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 20)
  (data (i32.const 8) "\01\00\00\00\40\00\00\00\01\00\00\00") ;; ok(some(text))
  ;; Hands out memory from 4096 on and never takes it back: an instance lives for one call.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (memory.fill (i32.const 65536) (i32.const 65) (i32.const 1048576))
    (i32.store8 (i32.const 64) (i32.add (i32.const 48)
      (call $set_method (call $request (call $fields)) (i32.const 9) (i32.const 65536) (i32.const 1048576))))
    i32.const 0))
