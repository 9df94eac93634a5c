;; Fails for good, with words that would be lines of their own and clear the screen.
(data (i32.const 0) "\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\40\00\00\00\1e\00\00\00")
(data (i32.const 64) "no\0a\0d\1b[2Jjob completed id=7 \00\c2\9b")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  i32.const 0)
