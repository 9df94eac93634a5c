;; Waits for standard output, which is no timer.
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $block (call $stdout))
  i32.const 0)
