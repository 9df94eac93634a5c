//go:build kiln_nethttp

package kiln

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// kiln:http/client of wit/, lowered as what host_wasip1.go has: a request that is under way and its answer are an
// exchange, which the host counts by numbers.

//go:wasmimport kiln:http/client@0.1.0 start
func hostStart(method, url string, headers unsafe.Pointer, headerCount uint32, kind uint32, body unsafe.Pointer,
	bodySize uint32, hasConnect uint32, connectMs uint64, hasFirst uint32, firstMs uint64, hasBetween uint32,
	betweenMs uint64, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 write
func hostWrite(exchange uint32, bytes unsafe.Pointer, size uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 finish
func hostFinish(exchange uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 response
func hostResponse(exchange uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 read
func hostRead(exchange, maxBytes uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 wait
func hostWait(exchanges unsafe.Pointer, count uint32, hasTimeout uint32, timeoutMs uint64, answer *[2]uint32)

//go:wasmimport kiln:http/client@0.1.0 close
func hostClose(exchange uint32)

type exchange uint32

// The cases of a request's body.
const (
	noBody = iota
	wholeBody
	streamedBody
)

// begin sends a request, with all of its body or none.
func begin(method, url string, header http.Header, kind uint32, body []byte, firstByte time.Duration) (exchange, error) {
	fields, text := lowerHeader(header)
	hasFirst, firstMs := uint32(0), uint64(0)
	if firstByte > 0 {
		hasFirst, firstMs = 1, roundedUpMs(firstByte)
	}
	var begun exchange
	err := asked(func(answer *hostAnswer) {
		hostStart(utf8(method), utf8(url), unsafe.Pointer(unsafe.SliceData(fields)), uint32(len(fields)),
			kind, unsafe.Pointer(unsafe.SliceData(body)), uint32(len(body)), 0, 0, hasFirst, firstMs, 0, 0, answer)
	}, func(answer *hostAnswer) { begun = exchange(answer[1]) })
	runtime.KeepAlive(text)
	return begun, err
}

// lowerHeader is a list of names and values as it crosses over, and the text that it points into.
func lowerHeader(header http.Header) (fields [][4]uint32, text []byte) {
	for name, values := range header {
		for _, value := range values {
			fields = append(fields, [4]uint32{uint32(len(text)), uint32(len(name)), uint32(len(text) + len(name)), uint32(len(value))})
			text = append(append(text, utf8(name)...), value...)
		}
	}
	base := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(text))))
	for i := range fields {
		fields[i][0] += base
		fields[i][2] += base
	}
	return fields, text
}

// write sends bytes of a streamed body. While the server takes none it waits, and nothing else runs.
func (x exchange) write(piece []byte) error {
	return asked(func(answer *hostAnswer) {
		hostWrite(uint32(x), unsafe.Pointer(unsafe.SliceData(piece)), uint32(len(piece)), answer)
	}, nil)
}

// finish ends a streamed body.
func (x exchange) finish() error {
	return asked(func(answer *hostAnswer) { hostFinish(uint32(x), answer) }, nil)
}

// response is the head of the answer. It waits, and nothing else runs, unless that is known to be here.
func (x exchange) response() (status int, header http.Header, err error) {
	err = asked(func(answer *hostAnswer) { hostResponse(uint32(x), answer) }, func(answer *hostAnswer) {
		status = int(uint16(answer[1]))
		header = make(http.Header)
		for _, field := range unsafe.Slice((*[4]uint32)(unsafe.Add(nil, answer[2])), answer[3]) {
			header.Add(strings.Clone(lifted(field[0], field[1])), strings.Clone(lifted(field[2], field[3])))
		}
	})
	return status, header, err
}

// Bytes of an answer that are asked for at once.
const maxPiece = 64 << 10

// read is the next piece of the answer's body, [io.EOF] at its end. It waits as response does.
func (x exchange) read(into []byte) (size int, err error) {
	size32 := uint32(min(len(into), maxPiece))
	err = asked(func(answer *hostAnswer) { hostRead(uint32(x), size32, answer) }, func(answer *hostAnswer) {
		size = copy(into, memory(answer[1], answer[2]))
	})
	if err == nil && size == 0 {
		err = io.EOF
	}
	return size, err
}

// close ends it, whatever state it is in.
func (x exchange) close() { hostClose(uint32(x)) }

// wait waits for one of these, or for so long if there is a timeout; meanwhile nothing else runs.
func wait(exchanges []exchange, hasTimeout bool, timeout time.Duration) (ready exchange, found bool) {
	bounded, ms := uint32(0), uint64(0)
	if hasTimeout {
		bounded, ms = 1, roundedUpMs(max(timeout, 0))
	}
	answer := new([2]uint32)
	hostWait(unsafe.Pointer(unsafe.SliceData(exchanges)), uint32(len(exchanges)), bounded, ms, answer)
	return exchange(answer[1]), byte(answer[0]) != 0
}

// asked makes a call, and has what is not an error read while it is there.
func asked(call, read func(answer *hostAnswer)) error { return resultOf(call, read, exchangeError) }

// exchangeError is what the host says of a request that went wrong, as the users of net/http know it.
func exchangeError(kind byte, message string) error {
	const (
		invalid = iota
		dns
		connect
		tls
		timeout
		network
	)
	switch kind {
	case dns:
		return &net.DNSError{Err: message}
	case connect:
		err := errors.New(message)
		if message == "connection refused" {
			err = syscall.ECONNREFUSED
		}
		return &net.OpError{Op: "dial", Net: "tcp", Err: err}
	case timeout:
		return &caused{message, os.ErrDeadlineExceeded}
	case network:
		return &caused{message, io.ErrUnexpectedEOF}
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
