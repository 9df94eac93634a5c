;; Connects to the port of 127.0.0.1 in its payload, in five digits.
(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $tcp (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-connect"
  (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $port i32) (local $at i32)
  (loop $digit
    (local.set $port (i32.add (i32.mul (local.get $port) (i32.const 10))
      (i32.sub (i32.load8_u (i32.add (local.get 6) (local.get $at))) (i32.const 48))))
    (br_if $digit (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get 7))))
  (call $tcp (i32.const 0) (i32.const 128))
  (if (i32.load8_u (i32.const 128)) (then unreachable))
  (call $connect (i32.load (i32.const 132)) (call $network) (i32.const 0) (local.get $port)
    (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 136))
  i32.const 0)
