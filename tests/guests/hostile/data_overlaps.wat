;; Has bytes put on one another. The last of them stay: it completes with 2.
(data (i32.const 8) "\01\00\00\00\40\00\00\00\01\00\00\00") ;; ok(some(text))
(data (i32.const 60) "111111111")
(data (i32.const 64) "2")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0)
