;; Takes an exbibyte of a memory with addresses of 64 bits.
(memory $wide i64 1)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (drop (memory.grow $wide (i64.const 0x100000000000)))
  unreachable)
