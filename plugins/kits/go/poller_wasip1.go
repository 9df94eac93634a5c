//go:build kiln_net

package kiln

import (
	"math"
	"time"
	"unsafe"
)

// All goroutines share one thread: a call that waits stops them all. So none but the poller waits for the host, for all
// that others wait for, and only when nothing else can run, until the next timer is due at the latest.
//
// That nothing else can run, Go's scheduler says: just then it asks its own poller for descriptors that became ready.
// Standard input, which is empty, is always ready to be read. Where something can always run, the poller looks at times,
// and does not wait.

// How soon it looks, and how rarely after nothing has come for long: to look takes processor time.
const (
	minLook = 10 * time.Millisecond
	maxLook = time.Second
)

// event is something that the host can wait for.
type event struct {
	kind   uint32 // A case of kiln:tcp's ready.
	number uint32 // Of a connection, of an exchange, or of the body that it sends.
}

const (
	readable = iota
	writable
	replied // Of an exchange; of its body, that it has room.
)

// awaited holds who waits for what. Nothing that reads or writes it can be interrupted by another goroutine.
var awaited = make(map[event]chan struct{})

var polling bool

// await returns true once the event has come, or false once one of the channels is closed.
func (e event) await(ended, closed <-chan struct{}) bool {
	if _, found := wait([]event{e}, true, 0); found {
		return true
	}
	ready := make(chan struct{})
	awaited[e] = ready
	if !polling {
		polling = true
		go poll()
	}
	select {
	case <-ready:
		return true
	case <-ended:
	case <-closed:
	}
	delete(awaited, e)
	return false
}

func poll() {
	look := minLook
	for {
		isIdle := idle(look)
		if len(awaited) == 0 {
			break
		}
		events := make([]event, 0, len(awaited))
		for e := range awaited {
			events = append(events, e)
		}
		next := nanotime()
		if isIdle {
			next = timeSleepUntil()
		}
		if e, found := wait(events, next != math.MaxInt64, time.Duration(next-nanotime())); found {
			close(awaited[e])
			delete(awaited, e)
			look = minLook
		} else {
			look = min(2*look, maxLook)
		}
	}
	polling = false
}

//go:wasmimport kiln:tcp/connections@0.1.0 wait
func hostWait(readable unsafe.Pointer, readableCount uint32, writable unsafe.Pointer, writableCount uint32,
	exchanges unsafe.Pointer, exchangeCount uint32, hasTimeout uint32, timeoutMs uint64, answer *[3]uint32)

// wait waits for one of these, or for so long if there is a timeout; meanwhile nothing else runs.
func wait(events []event, hasTimeout bool, timeout time.Duration) (come event, found bool) {
	var numbers [3][]uint32
	for _, e := range events {
		numbers[e.kind] = append(numbers[e.kind], e.number)
	}
	at := func(kind int) (unsafe.Pointer, uint32) {
		return unsafe.Pointer(unsafe.SliceData(numbers[kind])), uint32(len(numbers[kind]))
	}
	readables, readableCount := at(readable)
	writables, writableCount := at(writable)
	exchanges, exchangeCount := at(replied)
	bounded, ms := uint32(0), uint64(0)
	if hasTimeout {
		bounded, ms = 1, roundedUpMs(max(timeout, 0))
	}
	answer := new([3]uint32)
	hostWait(readables, readableCount, writables, writableCount, exchanges, exchangeCount, bounded, ms, answer)
	return event{uint32(byte(answer[1])), answer[2]}, byte(answer[0]) != 0
}

var standardInput uintptr

// idle returns when nothing else can run, or false if that was not so for so long.
func idle(look time.Duration) bool {
	if standardInput == 0 {
		pollServerInit()
		opened, errno := pollOpen(0)
		if errno != 0 {
			panic("standard input cannot be polled")
		}
		standardInput = opened
	}
	pollSetDeadline(standardInput, int64(look), 'r')
	// The deadline is a timer, which is not to end the wait for the host.
	defer pollSetDeadline(standardInput, 0, 'r')
	return pollWait(standardInput, 'r') == 0
}

//go:linkname pollServerInit internal/poll.runtime_pollServerInit
func pollServerInit()

//go:linkname pollOpen internal/poll.runtime_pollOpen
func pollOpen(descriptor uintptr) (opened uintptr, errno int)

//go:linkname pollWait internal/poll.runtime_pollWait
func pollWait(opened uintptr, mode int) (errcode int)

// pollSetDeadline lets a wait last so many nanoseconds from now; 0 is without end.
//
//go:linkname pollSetDeadline internal/poll.runtime_pollSetDeadline
func pollSetDeadline(opened uintptr, wait int64, mode int)

// timeSleepUntil is when the next timer is due, as nanotime counts; the greatest number if there is none.
//
//go:linkname timeSleepUntil runtime.timeSleepUntil
func timeSleepUntil() int64

//go:linkname nanotime runtime.nanotime
func nanotime() int64
