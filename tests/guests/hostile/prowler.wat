;; Looks for what another may have left: in its memory, before and after it takes as much as it was told to, in its table
;; and in its globals. Completes with true if it finds anything; otherwise fills it all and ends as it was told to. Its
;; payload is a number: ten thousand times how to end, and how many pages of memory to take in all.
(memory (export "memory") 2)
(table $table 100 funcref)
(global $number (mut i64) (i64.const 0))
(global $vector (mut v128) (v128.const i64x2 0 0))
(global $function (mut funcref) (ref.null func))
(elem declare func $left_behind)
(func $left_behind)
;; Whether there is anything from one address to another.
(func $found (param $at i32) (param $end i32) (result i32)
  (local $seen i64)
  (loop $next
    (local.set $seen (i64.or (local.get $seen) (i64.or
      (i64.or (i64.load (local.get $at)) (i64.load offset=8 (local.get $at)))
      (i64.or (i64.load offset=16 (local.get $at)) (i64.load offset=24 (local.get $at))))))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 32))) (local.get $end))))
  (i64.ne (local.get $seen) (i64.const 0)))
;; Whether there is anything in the table.
(func $found_in_table (result i32)
  (local $at i32) (local $seen i32)
  (loop $next
    (local.set $seen (i32.or (local.get $seen) (i32.eqz (ref.is_null (table.get $table (local.get $at))))))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (table.size $table))))
  (local.get $seen))
(func $end_of_memory (result i32) (i32.mul (memory.size) (i32.const 65536)))
(func $look (param $pages i32) (result i32)
  ;; Its job stands from 4096 on; within 4096 bytes.
  (if (call $found (i32.const 0) (i32.const 4096)) (then (return (i32.const 1))))
  (if (call $found (i32.const 8192) (call $end_of_memory)) (then (return (i32.const 1))))
  (if (i32.eq (memory.grow (i32.sub (local.get $pages) (memory.size))) (i32.const -1)) (then unreachable))
  (if (call $found (i32.const 8192) (call $end_of_memory)) (then (return (i32.const 1))))
  (if (call $found_in_table) (then (return (i32.const 1))))
  (if (i32.eq (table.grow $table (ref.null func) (i32.mul (local.get $pages) (i32.const 60))) (i32.const -1))
    (then unreachable))
  (if (call $found_in_table) (then (return (i32.const 1))))
  (if (i64.ne (global.get $number) (i64.const 0)) (then (return (i32.const 1))))
  (if (v128.any_true (global.get $vector)) (then (return (i32.const 1))))
  (i32.eqz (ref.is_null (global.get $function))))
(func $leave
  (memory.fill (i32.const 4096) (i32.const 0xa5) (i32.sub (call $end_of_memory) (i32.const 4096)))
  (table.fill $table (i32.const 0) (ref.func $left_behind) (table.size $table))
  (global.set $number (i64.const -1))
  (global.set $vector (v128.const i64x2 -1 -1))
  (global.set $function (ref.func $left_behind)))
(func $say (param $text i64) (param $len i32) (result i32)
  (i64.store (i32.const 64) (local.get $text))
  (i32.store8 (i32.const 8) (i32.const 1))
  (i32.store (i32.const 12) (i32.const 64))
  (i32.store (i32.const 16) (local.get $len))
  i32.const 0)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $told i32) (local $at i32)
  (loop $digit
    (local.set $told (i32.add (i32.mul (local.get $told) (i32.const 10))
      (i32.sub (i32.load8_u (i32.add (local.get 6) (local.get $at))) (i32.const 48))))
    (br_if $digit (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get 7))))
  (if (call $look (i32.rem_u (local.get $told) (i32.const 10000)))
    (then (return (call $say (i64.const 0x65757274) (i32.const 4))))) ;; true
  (call $leave)
  (local.set $told (i32.div_u (local.get $told) (i32.const 10000)))
  (if (i32.eq (local.get $told) (i32.const 1)) (then unreachable))
  (if (i32.eq (local.get $told) (i32.const 2)) (then (loop $again (br $again))))
  (if (i32.eq (local.get $told) (i32.const 3)) (then (drop (memory.grow (i32.const 60000)))))
  (call $say (i64.const 0x65736c6166) (i32.const 5))) ;; false
