;; Fails in a way there is none.
(data (i32.const 0) "\01\00\00\00\00\00\00\00\03")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0)
