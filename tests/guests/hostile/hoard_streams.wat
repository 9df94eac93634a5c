;; Opens standard output again and again and drops none.
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (loop $again
    (drop (call $stdout))
    (br $again))
  unreachable)
