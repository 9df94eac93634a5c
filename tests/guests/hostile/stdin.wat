;; Reads all of standard input, which is at its end, and copies it to standard output; completes.
(import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-splice" (func $splice (param i32 i32 i64 i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $read (call $stdin) (i64.const -1) (i32.const 64))
  (call $splice (call $stdout) (call $stdin) (i64.const -1) (i32.const 80))
  ;; Both answer: closed.
  (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then unreachable))
  (if (i32.ne (i32.load8_u (i32.const 68)) (i32.const 1)) (then unreachable))
  (if (i32.ne (i32.load8_u (i32.const 80)) (i32.const 1)) (then unreachable))
  (if (i32.ne (i32.load8_u (i32.const 88)) (i32.const 1)) (then unreachable))
  i32.const 0)
