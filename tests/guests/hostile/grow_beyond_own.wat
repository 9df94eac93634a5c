;; Takes more memory than it says it will ever want, which it is refused, and completes.
(memory (export "memory") 2 3)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (if (i32.ne (memory.grow (i32.const 65534)) (i32.const -1)) (then unreachable))
  i32.const 0)
