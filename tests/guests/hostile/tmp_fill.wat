;; Fills a file in /tmp, with holes, until there is no more space; completes if that is what it is told.
(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at"
  (func $open (param i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.write" (func $write (param i32 i32 i32 i64 i32)))
(data (i32.const 96) "x")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $tmp i32) (local $file i32) (local $at i64)
  (call $directories (i32.const 16))
  (local.set $tmp (i32.load (i32.load (i32.const 16))))
  ;; Created, to be written.
  (call $open (local.get $tmp) (i32.const 0) (i32.const 96) (i32.const 1) (i32.const 1) (i32.const 2) (i32.const 32))
  (if (i32.load8_u (i32.const 32)) (then unreachable))
  (local.set $file (i32.load (i32.const 36)))
  (loop $again
    (call $write (local.get $file) (i32.const 0) (i32.const 65536) (local.get $at) (i32.const 32))
    (local.set $at (i64.add (local.get $at) (i64.const 4194304)))
    (br_if $again (i32.eqz (i32.load8_u (i32.const 32)))))
  ;; 23: insufficient-space.
  (if (i32.ne (i32.load8_u (i32.const 40)) (i32.const 23)) (then unreachable))
  ;; Nothing is returned.
  (memory.fill (i32.const 64) (i32.const 0) (i32.const 32))
  i32.const 64)
