;; Logs a line, reports progress, writes to standard output, waits in the host for as many milliseconds as its payload says, a
;; whole number, logs another line, and fails: try again.
(module
  (import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
  (import "kiln:job/context@0.1.0" "progress" (func $progress (param i32 i32 i32 i32)))
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\01\00\00\00\00\00\00\00") ;; err
  (data (i32.const 8) "\00") ;; which failure
  (data (i32.const 16) "\40\00\00\00\04\00\00\00") ;; its message
  (data (i32.const 64) "busymainbegun\1b[31mhalfendedprinted")
  ;; Hands out memory from 4096 on and never takes it back: an instance lives for one call.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
  (func $handle (export "kiln:job/handler@0.1.0#handle")
    (param $id i32) (param $id_len i32) (param $name i32) (param $name_len i32) (param $queue i32) (param $queue_len i32)
    (param $payload i32) (param $payload_len i32) (param $attempt i32) (param $max_attempts i32) (param $created i64)
    (param $metadata i32) (param $metadata_len i32) (result i32)
    (local $ms i64) (local $at i32)
    (call $log (i32.const 3) (i32.const 68) (i32.const 4) (i32.const 72) (i32.const 10))
    (call $progress (i32.const 40) (i32.const 1) (i32.const 82) (i32.const 4))
    (call $write (call $stdout) (i32.const 91) (i32.const 7) (i32.const 1024))
    (loop $digit
      (local.set $ms (i64.add (i64.mul (local.get $ms) (i64.const 10))
        (i64.sub (i64.load8_u (i32.add (local.get $payload) (local.get $at))) (i64.const 48))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $digit (i32.lt_u (local.get $at) (local.get $payload_len))))
    (call $block (call $subscribe (i64.mul (local.get $ms) (i64.const 1000000))))
    (call $log (i32.const 2) (i32.const 68) (i32.const 0) (i32.const 86) (i32.const 5))
    i32.const 0))
