package kiln

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// The contract of wit/, as the canonical ABI of the component model lowers it. It is written by hand: it is small and
// frozen, a mismatch does not pass `kiln build`, and what generated bindings do in cabi_realloc is not safe (see there).

//go:wasmimport kiln:job/context@0.1.0 progress
func hostProgress(percent, hasNote uint32, note string)

//go:wasmimport kiln:job/context@0.1.0 remaining-ms
func hostRemainingMs() uint64

//go:wasmimport kiln:job/context@0.1.0 is-cancelled
func hostIsCancelled() uint32

//go:wasmimport wasi:config/store@0.2.0-rc.1 get
func hostConfigGet(key string, answer *[4]uint32)

//go:wasmimport wasi:logging/logging@0.1.0-draft log
func hostLog(level uint32, context, message string)

// Progress reports how far the attempt has come, in percent, with a note that may be empty.
func Progress(percent int, note string) {
	var hasNote uint32
	if note != "" {
		hasNote = 1
	}
	hostProgress(uint32(min(max(percent, 0), 100)), hasNote, utf8(note))
}

// Remaining is the time until the attempt is interrupted.
func Remaining() time.Duration {
	return time.Duration(min(hostRemainingMs(), maxMs)) * time.Millisecond
}

// The most milliseconds that fit a time.Duration.
const maxMs = uint64(1<<63-1) / uint64(time.Millisecond)

// Cancelled tells whether the host is shutting down. A handler that then returns an error soon gives its job back
// without having used up an attempt; its context ends by itself.
func Cancelled() bool { return hostIsCancelled() != 0 }

// Config looks up a value that the operator set in the [config] table of the plugin's manifest.
func Config(key string) (value string, found bool) {
	borrowing(func() {
		answer := new([4]uint32) // result<option<string>, error>
		hostConfigGet(utf8(key), answer)
		if failed, some := byte(answer[0]), byte(answer[1]); failed == 0 && some != 0 {
			value, found = strings.Clone(lifted(answer[2], answer[3])), true
		}
	})
	return value, found
}

var borrowed sync.Mutex

// borrowing makes a call whose answer lies in the arena, and has to be copied before it returns. One call at a time: the
// next one's answer may take the place.
func borrowing(call func()) {
	borrowed.Lock()
	defer borrowed.Unlock()
	mark := arena.next
	defer func() { arena.next = max(mark, arena.start) }()
	call()
}

// hostAnswer is any result of kiln:http and kiln:state: whether it is an error, then what there is, or the error's kind, then
// where its text lies.
type hostAnswer = [4]uint32

// resultOf makes a call, and has what is not an error read while it is there.
func resultOf(call, read func(answer *hostAnswer), failed func(kind byte, message string) error) (err error) {
	borrowing(func() {
		answer := new(hostAnswer)
		call(answer)
		switch {
		case byte(answer[0]) != 0:
			err = failed(byte(answer[1]), strings.Clone(lifted(answer[2], answer[3])))
		case read != nil:
			read(answer)
		}
	})
	return err
}

// roundedUpMs rounds up: to wait for the last fraction of a millisecond is not to ask for nothing over and over.
func roundedUpMs(duration time.Duration) uint64 {
	if duration <= 0 {
		return 0
	}
	return uint64((duration-1)/time.Millisecond) + 1
}

// utf8 makes a text fit to cross over: the host stops a handler that hands it anything else as a string.
func utf8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// run is the handler, and rehearsal what can be done of its work without a job, once main has called Handle.
var (
	run       func(context.Context, *Job) (json.RawMessage, error)
	rehearsal func()
)

func serve(handler func(context.Context, *Job) (json.RawMessage, error), rehearse func()) {
	run, rehearsal = handler, rehearse
}

// wake is to be called first where the memory began as it was when the handler was built.
var wake func()

// A component that exports functions is a library to Go, of which main is not called: so the first job calls it.
//
//go:linkname programMain main.main
func programMain()

//go:wasmexport kiln:job/handler@0.1.0#handle
func handle(id, idSize, name, nameSize, queue, queueSize, payload, payloadSize, attempt, maxAttempts uint32,
	createdAtMs uint64, metadata, metadataSize uint32,
) unsafe.Pointer {
	if wake != nil {
		wake()
		wake = nil
	}
	if run == nil {
		programMain()
	}
	if run == nil {
		panic("main returned and has not called kiln.Handle")
	}
	// Where an instance serves several jobs, the next one's strings take this one's place. The answer is read before.
	defer func() { arena.next = arena.start }()
	if isTooDeep(memory(metadata, metadataSize)) {
		return unsafe.Pointer(answered(nil, Permanent(fmt.Errorf("metadata: %w", ErrTooDeep))))
	}
	job := &Job{
		ID:          lifted(id, idSize),
		Name:        lifted(name, nameSize),
		Queue:       lifted(queue, queueSize),
		Payload:     memory(payload, payloadSize),
		Attempt:     int(attempt),
		MaxAttempts: int(maxAttempts),
		Metadata:    decodeMetadata(memory(metadata, metadataSize)),
	}
	if createdAtMs != 0 {
		job.CreatedAt = time.UnixMilli(int64(createdAtMs))
	}
	return unsafe.Pointer(answered(run(newAttempt(), job)))
}

func decodeMetadata(text []byte) (metadata map[string]any) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&metadata); err != nil {
		panic(fmt.Sprintf("the host sent metadata that is no object: %v", err))
	}
	return metadata
}

// answer is result<option<string>, failure>, laid out as the canonical ABI has it.
type answer struct {
	_       [0]uint64 // It is aligned as its widest field is, a u64.
	isError uint32
	_       uint32
	is      uint32 // Whether there is a result, or which failure it is.
	fields  [5]uint32
}

var (
	// The host reads these after handle has returned: they must not be collected.
	given     answer
	givenText string
)

func answered(result json.RawMessage, err error) *answer {
	if err == nil {
		givenText = utf8(unsafe.String(unsafe.SliceData(result), len(result)))
		at, size := lowered(givenText)
		given = answer{fields: [5]uint32{at, size}}
		if result != nil {
			given.is = 1
		}
		return &given
	}
	kind, after := classify(err)
	givenText = utf8(err.Error())
	at, size := lowered(givenText)
	ms := uint64(after.Milliseconds())
	given = answer{isError: 1, is: kind, fields: [5]uint32{0, at, size, uint32(ms), uint32(ms >> 32)}}
	return &given
}

// lowered is a text as it crosses over.
func lowered(text string) (at, size uint32) {
	return uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text))
}
