;; Asks for random numbers without end.
(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (loop $again
    (drop (call $random))
    (br $again))
  unreachable)
