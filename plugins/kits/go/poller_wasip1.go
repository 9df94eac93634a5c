//go:build kiln_nethttp

package kiln

import (
	"context"
	"math"
	"time"
	_ "unsafe" // For linkname.
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

// awaited holds who waits for which exchange. Nothing that reads or writes it can be interrupted by another goroutine.
var awaited = make(map[exchange]chan struct{})

var polling bool

// await returns once response or read of an exchange would not wait, or the context has ended, with its cause.
func (x exchange) await(ctx context.Context) error {
	ready := make(chan struct{})
	awaited[x] = ready
	if !polling {
		polling = true
		go poll()
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		delete(awaited, x)
		return context.Cause(ctx)
	}
}

func poll() {
	look := minLook
	for {
		isIdle := idle(look)
		if len(awaited) == 0 {
			break
		}
		exchanges := make([]exchange, 0, len(awaited))
		for x := range awaited {
			exchanges = append(exchanges, x)
		}
		next := nanotime()
		if isIdle {
			next = timeSleepUntil()
		}
		if x, found := wait(exchanges, next != math.MaxInt64, time.Duration(next-nanotime())); found {
			close(awaited[x])
			delete(awaited, x)
			look = minLook
		} else {
			look = min(2*look, maxLook)
		}
	}
	polling = false
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
