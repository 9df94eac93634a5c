;; Makes files without end in /tmp and closes each; completes if it is told that there is no more space.
(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
(import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at"
  (func $open (param i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.0" "[resource-drop]descriptor" (func $drop (param i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $tmp i32) (local $name i64)
  (call $directories (i32.const 16))
  (local.set $tmp (i32.load (i32.load (i32.const 16))))
  (block $full
    (loop $again
      ;; Its name: eight letters.
      (local.set $name (i64.add (local.get $name) (i64.const 1)))
      (i64.store (i32.const 96) (i64.or (i64.const 0x4040404040404040)
        (i64.or (i64.and (local.get $name) (i64.const 15))
          (i64.or (i64.shl (i64.and (local.get $name) (i64.const 0xf0)) (i64.const 4))
            (i64.or (i64.shl (i64.and (local.get $name) (i64.const 0xf00)) (i64.const 8))
              (i64.shl (i64.and (local.get $name) (i64.const 0xf000)) (i64.const 12)))))))
      (call $open (local.get $tmp) (i32.const 0) (i32.const 96) (i32.const 8) (i32.const 5) (i32.const 2) (i32.const 32))
      (br_if $full (i32.load8_u (i32.const 32)))
      (call $drop (i32.load (i32.const 36)))
      (br $again)))
  (if (i32.ne (i32.load8_u (i32.const 36)) (i32.const 23)) (then unreachable))
  (memory.fill (i32.const 64) (i32.const 0) (i32.const 32))
  i32.const 64)
