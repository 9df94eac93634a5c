;; Enqueues what nobody has granted, under a name that would forge lines of a log.
(import "kiln:flow/jobs@0.1.0" "enqueue" (func $enqueue (param i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 96) "a\1b\0ab1")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $enqueue (i32.const 96) (i32.const 4) (i32.const 100) (i32.const 1)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 128))
  (i32.const 0))
