;; Says that it panicked, in words that would be lines of their own, and traps.
(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
(data (i32.const 64) "panicked at \1b[2J\0djob completed id=7")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (memory.fill (i32.const 96) (i32.const 27) (i32.const 8000))
  (call $write (call $stderr) (i32.const 64) (i32.const 8032) (i32.const 32))
  unreachable)
