//go:build kiln_net

package kiln

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// Kinds of errors that kiln:http and kiln:tcp share.
const (
	_ = iota
	nameUnknown
	connectFailed
	_
	tookTooLong
	connectionBroke
)

// networkError is what the host says went wrong, as the users of net know it.
func networkError(kind byte, message string) error {
	switch kind {
	case nameUnknown:
		return &net.DNSError{Err: message}
	case connectFailed:
		if message == "connection refused" {
			return syscall.ECONNREFUSED
		}
	case tookTooLong:
		return &caused{message, os.ErrDeadlineExceeded}
	case connectionBroke:
		return &caused{message, syscall.ECONNRESET}
	}
	return errors.New(message)
}

// caused is an error in the host's words that is also one of Go's.
type caused struct {
	message string
	cause   error
}

func (e *caused) Error() string { return e.message }

func (e *caused) Unwrap() error { return e.cause }

// Timeout makes it a [net.Error].
func (e *caused) Timeout() bool { return e.cause == os.ErrDeadlineExceeded }

// Temporary makes it a [net.Error].
func (e *caused) Temporary() bool { return e.Timeout() }
