;; Writes 10 MB to standard output and error at once, without asking how much it may, and completes.
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
(memory (export "memory") 160)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $write (call $stdout) (i32.const 4096) (i32.const 10000000) (i32.const 32))
  (call $write (call $stderr) (i32.const 4096) (i32.const 10000000) (i32.const 32))
  i32.const 0)
