;; Opens /tmp again and again and closes nothing.
(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at"
  (func $open (param i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 96) ".")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $tmp i32)
  (call $directories (i32.const 16))
  (local.set $tmp (i32.load (i32.load (i32.const 16))))
  (loop $again
    (call $open (local.get $tmp) (i32.const 0) (i32.const 96) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))
    (br_if $again (i32.eqz (i32.load8_u (i32.const 32)))))
  unreachable)
