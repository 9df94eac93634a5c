;; Makes a TCP and a UDP socket, of both kinds, and looks up localhost; completes if it gets none.
(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
(import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))
(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $tcp (param i32 i32)))
(import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket" (func $udp (param i32 i32)))
(data (i32.const 64) "localhost")
;; Traps unless there is an error of this code at the address.
(func $refused (param i32 i32)
  (if (i32.ne (i32.load8_u (local.get 0)) (i32.const 1)) (then unreachable))
  (if (i32.ne (i32.load8_u offset=4 (local.get 0)) (local.get 1)) (then unreachable)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $tcp (i32.const 0) (i32.const 128))
  (call $refused (i32.const 128) (i32.const 1)) ;; access-denied
  (call $tcp (i32.const 1) (i32.const 136))
  (call $refused (i32.const 136) (i32.const 1)) ;; access-denied
  (call $udp (i32.const 0) (i32.const 144))
  (call $refused (i32.const 144) (i32.const 1)) ;; access-denied
  (call $udp (i32.const 1) (i32.const 152))
  (call $refused (i32.const 152) (i32.const 1)) ;; access-denied
  (call $resolve (call $network) (i32.const 64) (i32.const 9) (i32.const 160))
  (call $refused (i32.const 160) (i32.const 20)) ;; permanent-resolver-failure
  i32.const 0)
