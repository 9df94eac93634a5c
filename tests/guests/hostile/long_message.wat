;; Fails for good, in sixteen mebibytes of words.
(memory (export "memory") 300)
(data (i32.const 0) "\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\00\00\01\00\00\00\00\01")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (memory.fill (i32.const 0x10000) (i32.const 97) (i32.const 0x1000000))
  i32.const 0)
