;; Waits, again and again, for the first of three million connections and exchanges, none of which is open.
(import "kiln:tcp/connections@0.1.0" "wait" (func $wait (param i32 i32 i32 i32 i32 i32 i32 i64 i32)))
(import "kiln:tcp/connections@0.1.0" "close" (func $close (param i32)))
(memory (export "memory") 64)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (loop $again
    (call $wait (i32.const 65536) (i32.const 1000000) (i32.const 65536) (i32.const 1000000)
      (i32.const 65536) (i32.const 1000000) (i32.const 0) (i64.const 0) (i32.const 128))
    (call $close (i32.load (i32.const 136)))
    (br $again))
  unreachable)
