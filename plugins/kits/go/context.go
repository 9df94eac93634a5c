package kiln

import (
	"context"
	"sync"
	"time"
)

// How long before its interruption an attempt's context ends, so that a handler can still say what it waited for; of
// short attempts it is a tenth.
const margin = 250 * time.Millisecond

// How often a handler that waits learns whether the host is shutting down.
const pollInterval = 100 * time.Millisecond

// attempt is the context of a handler. It asks the host instead of keeping timers: nothing runs beside a Go handler
// that computes, so a timer would not fire, and one that is pending would hide a deadlock from Go's runtime.
type attempt struct {
	context.Context
	deadline time.Time
	done     chan struct{}
	watched  sync.Once
	mutex    sync.Mutex
	err      error
}

func newAttempt() *attempt {
	remaining := Remaining()
	return &attempt{
		Context:  context.Background(),
		deadline: time.Now().Add(remaining - min(margin, remaining/10)),
		done:     make(chan struct{}),
	}
}

func (a *attempt) Deadline() (time.Time, bool) { return a.deadline, true }

func (a *attempt) Err() error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.err != nil {
		return a.err
	}
	switch {
	case Cancelled():
		a.err = context.Canceled
	case !time.Now().Before(a.deadline):
		a.err = context.DeadlineExceeded
	default:
		return nil
	}
	close(a.done)
	return a.err
}

func (a *attempt) Done() <-chan struct{} {
	a.watched.Do(func() {
		go func() {
			for a.Err() == nil {
				time.Sleep(min(pollInterval, time.Until(a.deadline)))
			}
		}()
	})
	return a.done
}
