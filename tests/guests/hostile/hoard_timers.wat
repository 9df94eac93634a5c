;; Subscribes to timers and drops none.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (loop $again
    (drop (call $subscribe (i64.const 3600000000000)))
    (br $again))
  unreachable)
