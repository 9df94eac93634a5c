;; Completes with a result of ten million brackets.
(memory (export "memory") 200)
(data (i32.const 8) "\01\00\00\00\00\00\01\00\80\96\98\00")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (memory.fill (i32.const 0x10000) (i32.const 91) (i32.const 10000000))
  i32.const 0)
