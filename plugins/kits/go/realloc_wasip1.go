package kiln

import "unsafe"

// The host puts strings into a handler's memory by calling cabi_realloc: for the job before the handler starts, for the
// answer of a host function before that returns. During such a call a component may call nothing outside itself, not
// even the clock; if it does, it is stopped ("cannot leave component instance"). Go's allocator may, whenever it starts
// or helps a garbage collection, and so may its scheduler. So nothing of Go's runtime is entered here: the memory comes
// from an arena beside Go's heap, and every function is nosplit, which the linker checks, so that not even the stack
// grows. The garbage collector runs whenever it likes outside of these calls, and knows nothing of the arena.

// arena is the piece of memory that strings are put into; next to end is free. Where it cannot be extended, because Go
// took what follows, another piece begins, further up.
var arena struct{ start, next, end uintptr }

// The bounds of Go's memory: up to bloc the runtime uses it, up to blocMax the host has given it. Both have to move
// along when the arena grows, as in runtime.sbrk, which itself is not nosplit.
//
//go:linkname bloc runtime.bloc
var bloc uintptr

//go:linkname blocMax runtime.blocMax
var blocMax uintptr

const page = 64 << 10

//go:wasmexport cabi_realloc
//go:nosplit
func cabiRealloc(old, oldSize, align, size uint32) uint32 {
	at := aligned(arena.next, uintptr(align))
	if at+uintptr(size) > arena.end {
		if arena.end != bloc {
			arena.start, arena.next = bloc, bloc
		}
		at = aligned(arena.next, uintptr(align))
		arena.end = extended(at + uintptr(size))
	}
	arena.next = at + uintptr(size)
	if old != 0 {
		copy(memory(uint32(at), size), memory(old, oldSize))
	}
	return uint32(at)
}

// extended takes whole pages from the end of Go's memory until it reaches beyond end, and returns its new end.
//
//go:nosplit
func extended(end uintptr) uintptr {
	end = aligned(end, page)
	if end > blocMax {
		grow(uint32((end - blocMax) / page))
		blocMax = end
	}
	bloc = end
	return end
}

//go:nosplit
func aligned(at, align uintptr) uintptr { return (at + align - 1) &^ (align - 1) }

// grow adds pages to the memory, or traps.
func grow(pages uint32)

// memory is size bytes that the host has put at an address.
//
//go:nosplit
func memory(at, size uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(nil, at)), size)
}

// lifted is the text that the host has put at an address.
func lifted(at, size uint32) string { return unsafe.String(unsafe.SliceData(memory(at, size)), size) }
