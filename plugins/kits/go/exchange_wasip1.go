//go:build kiln_nethttp

package kiln

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"
	"unsafe"
)

// kiln:http/client of wit/, lowered as what host_wasip1.go has: a request that is under way and its answer are an
// exchange, which the host counts by numbers.

//go:wasmimport kiln:http/client@0.1.0 start
func hostStart(method, url string, headers unsafe.Pointer, headerCount uint32, kind uint32, body unsafe.Pointer,
	bodySize uint32, hasConnect uint32, connectMs uint64, hasFirst uint32, firstMs uint64, hasBetween uint32,
	betweenMs uint64, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 write-some
func hostWriteSome(exchange uint32, bytes unsafe.Pointer, size uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 body-number
func hostBodyNumber(exchange uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 finish
func hostFinish(exchange uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 response
func hostResponse(exchange uint32, answer *hostAnswer)

//go:wasmimport kiln:http/client@0.1.0 read
func hostRead(exchange, maxBytes uint32, answer *hostAnswer)

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

// write sends bytes of a streamed body, until the context has ended. While the server takes none it waits, and others run.
func (x exchange) write(ctx context.Context, piece []byte) error {
	for {
		taken := 0
		err := asked(func(answer *hostAnswer) {
			hostWriteSome(uint32(x), unsafe.Pointer(unsafe.SliceData(piece)), uint32(len(piece)), answer)
		}, func(answer *hostAnswer) { taken = int(answer[1]) })
		piece = piece[taken:]
		if err != nil || len(piece) == 0 {
			return err
		}
		if err := x.awaitRoom(ctx); err != nil {
			return err
		}
	}
}

// awaitRoom returns once there is room for more of a streamed body, or the context has ended, with its cause.
func (x exchange) awaitRoom(ctx context.Context) error {
	body := event{kind: replied}
	err := asked(func(answer *hostAnswer) { hostBodyNumber(uint32(x), answer) },
		func(answer *hostAnswer) { body.number = answer[1] })
	if err == nil && !body.await(ctx.Done(), nil) {
		err = context.Cause(ctx)
	}
	return err
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

// await returns once response or read would not wait, or the context has ended, with its cause.
func (x exchange) await(ctx context.Context) error {
	if !(event{replied, uint32(x)}).await(ctx.Done(), nil) {
		return context.Cause(ctx)
	}
	return nil
}

// asked makes a call, and has what is not an error read while it is there.
func asked(call, read func(answer *hostAnswer)) error { return resultOf(call, read, exchangeError) }

// exchangeError is what the host says of a request that went wrong, as the users of net/http know it.
func exchangeError(kind byte, message string) error {
	switch err := networkError(kind, message); kind {
	case connectFailed:
		return &net.OpError{Op: "dial", Net: "tcp", Err: err}
	case connectionBroke:
		return &caused{message, io.ErrUnexpectedEOF}
	default:
		return err
	}
}
