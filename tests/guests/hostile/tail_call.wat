;; Calls itself without end and without using any stack.
(func $again (return_call $again))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $again)
  unreachable)
