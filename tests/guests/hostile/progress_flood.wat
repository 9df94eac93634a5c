;; Reports progress without end, at 255 percent.
(import "kiln:job/context@0.1.0" "progress" (func $progress (param i32 i32 i32 i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (loop $again
    (call $progress (i32.const 255) (i32.const 1) (i32.const 64) (i32.const 60000))
    (br $again))
  unreachable)
