;; Fails: try again in 584 million years.
(data (i32.const 0) "\01\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\40\00\00\00\05\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff")
(data (i32.const 64) "later")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0)
