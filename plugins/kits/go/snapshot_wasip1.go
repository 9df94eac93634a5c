//go:build kiln_snapshot

package kiln

import (
	"errors"
	"unsafe"
)

// `kiln build` initialises the runtime and all packages once, and calls main; a handler's memory begins as it is then. What
// each attempt has to have for itself comes anew: see host/project/go in Kiln's source, which adds to the packages runtime
// and syscall what is used here, and sets the build tag of this file.

// prepare goes on to a stage, and makes this memory ready to be kept. It returns where the place and size of a text lie that
// says why it must not be kept; nil if it may.
//
//go:wasmexport kiln-prepare
func prepare(stage uint32) unsafe.Pointer {
	switch stage {
	case afterMain:
		programMain()
	case afterRehearsal:
		if rehearsal != nil {
			rehearseAttempt()
		}
	}
	if objection := runtimeObjection(); objection != "" {
		at, size := lowered(objection)
		objected = [2]uint32{at, size}
		return unsafe.Pointer(&objected)
	}
	forgetEnvironment()
	if room := blocMax - bloc; room < roomSize {
		grow(uint32((roomSize - room) / page))
		blocMax = bloc + roomSize
	}
	wake = func() {
		runtimeWake()
		// By now the adapter of WASI has its own memory, which lies here, as the host's strings do.
		arena.start = arena.next
	}
	return nil
}

// Memory that an attempt can take before it grows: a small one's strings, and what the adapter of WASI has for itself. To grow
// would change the memory's mapping; but what is there is written anew for each attempt.
const roomSize = 6 * page

// The stages; before the first, packages are initialised.
const (
	afterMain = 1 + iota
	afterRehearsal
)

// rehearseAttempt does as much of an attempt as can be done without a job.
func rehearseAttempt() {
	// What the author's own methods make of values that are empty is no matter here.
	defer func() { _ = recover() }()
	decodeMetadata([]byte(`{"a":["b",1,true,null]}`))
	answered(nil, errors.New(""))
	rehearsal()
}

// The host reads it after prepare has returned.
var objected [2]uint32

// runtimeObjection says what was asked for that differs between attempts.
//
//go:linkname runtimeObjection runtime.kilnObjection
func runtimeObjection() string

// runtimeWake draws new random seeds.
//
//go:linkname runtimeWake runtime.kilnWake
func runtimeWake()

// forgetEnvironment has the environment read again, by whoever asks for it next.
//
//go:linkname forgetEnvironment syscall.kilnForget
func forgetEnvironment()
