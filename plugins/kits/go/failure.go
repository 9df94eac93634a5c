package kiln

import (
	"errors"
	"fmt"
	"time"
)

// PermanentError is a failure that trying again cannot help.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *PermanentError) Unwrap() error { return e.Err }

// RetryAfterError is a failure that trying again can help, but not sooner than After from now.
type RetryAfterError struct {
	Err   error
	After time.Duration
}

func (e *RetryAfterError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *RetryAfterError) Unwrap() error { return e.Err }

// Permanent sends the job to the failed list at once, whatever attempts it has left.
func Permanent(err error) error { return &PermanentError{err} }

// Permanentf is [Permanent] of what [fmt.Errorf] makes.
func Permanentf(format string, args ...any) error { return Permanent(fmt.Errorf(format, args...)) }

// RetryAfter has the job tried again, but not sooner than after from now.
func RetryAfter(after time.Duration, err error) error { return &RetryAfterError{err, after} }

// RetryAfterf is [RetryAfter] of what [fmt.Errorf] makes.
func RetryAfterf(after time.Duration, format string, args ...any) error {
	return RetryAfter(after, fmt.Errorf(format, args...))
}

// The cases of a failure, numbered as in wit/job.wit.
const (
	retry = iota
	retryAfter
	permanent
)

// classify tells what should become of a job whose handler returned err. Of several kinds wrapped into one another,
// permanent wins: to have said so once is enough.
func classify(err error) (kind uint32, after time.Duration) {
	var later *RetryAfterError
	switch {
	case errors.As(err, new(*PermanentError)):
		return permanent, 0
	case errors.As(err, &later):
		return retryAfter, max(later.After, 0)
	}
	return retry, 0
}
