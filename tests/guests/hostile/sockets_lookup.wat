;; Looks up a name of which it was granted nothing.
(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
(import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))
(data (i32.const 64) "localhost")
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $resolve (call $network) (i32.const 64) (i32.const 9) (i32.const 160))
  unreachable)
