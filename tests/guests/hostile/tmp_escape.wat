;; Tries to leave /tmp, to link to what is outside, and to have a file of an exbibyte; completes if it cannot.
(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at"
  (func $open (param i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.write" (func $write (param i32 i32 i32 i64 i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.set-size" (func $set_size (param i32 i64 i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.symlink-at" (func $link (param i32 i32 i32 i32 i32 i32)))
(data (i32.const 96) "../../etc/passwd/etc/passwdx")
;; Fails if a path can be opened, to be read or made.
(func $shut (param $tmp i32) (param $path i32) (param $len i32)
  (call $open (local.get $tmp) (i32.const 1) (local.get $path) (local.get $len) (i32.const 0) (i32.const 1) (i32.const 32))
  (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
  (call $open (local.get $tmp) (i32.const 1) (local.get $path) (local.get $len) (i32.const 1) (i32.const 3) (i32.const 32))
  (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $tmp i32) (local $file i32)
  (call $directories (i32.const 16))
  (local.set $tmp (i32.load (i32.load (i32.const 16))))
  (call $shut (local.get $tmp) (i32.const 96) (i32.const 16)) ;; ../../etc/passwd
  (call $shut (local.get $tmp) (i32.const 96) (i32.const 2)) ;; ..
  (call $shut (local.get $tmp) (i32.const 112) (i32.const 11)) ;; /etc/passwd
  (call $link (local.get $tmp) (i32.const 112) (i32.const 11) (i32.const 123) (i32.const 1) (i32.const 32))
  (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
  (call $open (local.get $tmp) (i32.const 0) (i32.const 123) (i32.const 1) (i32.const 1) (i32.const 2) (i32.const 32))
  (local.set $file (i32.load (i32.const 36)))
  (call $write (local.get $file) (i32.const 96) (i32.const 1) (i64.const 0x1000000000000000) (i32.const 32))
  (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
  (call $set_size (local.get $file) (i64.const 0x1000000000000000) (i32.const 32))
  (if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
  (memory.fill (i32.const 64) (i32.const 0) (i32.const 32))
  i32.const 64)
