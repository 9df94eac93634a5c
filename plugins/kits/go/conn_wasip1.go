//go:build kiln_net

package kiln

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
	"unsafe"
)

// A Go handler has no sockets. `kiln build` has every net.Dialer call dial for TCP, and leaves names to the host, which
// resolves them when it connects: see host/project/go.rs in Kiln's source. It sets the build tag of this file where a
// handler or a package it uses imports net.

//go:wasmimport kiln:tcp/connections@0.1.0 connect
func hostConnect(host string, port uint32, answer *hostAnswer)

//go:wasmimport kiln:tcp/connections@0.1.0 connected
func hostConnected(connection uint32, answer *hostAnswer)

//go:wasmimport kiln:tcp/connections@0.1.0 start-tls
func hostStartTLS(connection uint32, serverName string, answer *hostAnswer)

//go:wasmimport kiln:tcp/connections@0.1.0 write
func hostConnWrite(connection uint32, bytes unsafe.Pointer, size uint32, answer *hostAnswer)

//go:wasmimport kiln:tcp/connections@0.1.0 read
func hostConnRead(connection, maxBytes uint32, answer *hostAnswer)

//go:wasmimport kiln:tcp/connections@0.1.0 finish
func hostConnFinish(connection uint32, answer *hostAnswer)

//go:wasmimport kiln:tcp/connections@0.1.0 close
func hostConnClose(connection uint32)

// Bytes that are read or written at once.
const maxPiece = 64 << 10

// kilnDial is what net.Dialer calls.
//
//go:linkname kilnDial net.kilnDial
var kilnDial func(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error)

func init() { kilnDial = dial }

func dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	made := &conn{remote: hostAddr(address), closed: make(chan struct{})}
	failed := func(err error) (net.Conn, error) { return nil, made.failed("dial", err) }
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return failed(err)
	}
	if host == "" {
		host = "localhost"
	}
	if deadline := dialer.Deadline; !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	if dialer.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialer.Timeout)
		defer cancel()
	}
	// Its time may be over already.
	if err := ended(ctx); err != nil {
		return failed(err)
	}
	err = connAsked(func(answer *hostAnswer) { hostConnect(utf8(host), uint32(port), answer) },
		func(answer *hostAnswer) { made.number = answer[1] })
	if err != nil {
		return failed(err)
	}
	if !(event{writable, made.number}).await(ctx.Done(), nil) {
		err = ended(ctx)
	} else {
		err = connAsked(func(answer *hostAnswer) { hostConnected(made.number, answer) }, nil)
	}
	if err != nil {
		hostConnClose(made.number)
		return failed(err)
	}
	return made, nil
}

// ended is why a context is over, as net tells it, or nil.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != context.DeadlineExceeded {
		return err
	}
	return os.ErrDeadlineExceeded
}

// conn is a TCP connection of the host's.
type conn struct {
	number                      uint32
	remote                      hostAddr
	reading, writing            sync.Mutex
	readDeadline, writeDeadline deadline
	closed                      chan struct{}
}

// StartTLS has the host speak TLS over a connection from here on, and verify that the server's certificate is for this
// name, as after SMTP's STARTTLS or PostgreSQL's SSLRequest. Nothing else runs until both sides have agreed. What it returns
// takes the connection's place.
func StartTLS(connection net.Conn, serverName string) (net.Conn, error) {
	own, ok := connection.(*conn)
	if !ok {
		return nil, &net.OpError{Op: "tls", Net: "tcp", Err: os.ErrInvalid}
	}
	err := connAsked(func(answer *hostAnswer) { hostStartTLS(own.number, utf8(serverName), answer) }, nil)
	return own, own.failed("tls", err)
}

func (c *conn) Read(into []byte) (size int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.await(readable, &c.readDeadline); err != nil {
		return 0, c.failed("read", err)
	}
	if len(into) == 0 {
		return 0, nil
	}
	err = connAsked(func(answer *hostAnswer) { hostConnRead(c.number, uint32(min(len(into), maxPiece)), answer) },
		func(answer *hostAnswer) { size = copy(into, memory(answer[1], answer[2])) })
	if err == nil && size == 0 {
		return 0, io.EOF
	}
	return size, c.failed("read", err)
}

func (c *conn) Write(from []byte) (size int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for size < len(from) && err == nil {
		if err = c.await(writable, &c.writeDeadline); err != nil {
			break
		}
		piece := from[size:min(len(from), size+maxPiece)]
		err = connAsked(func(answer *hostAnswer) {
			hostConnWrite(c.number, unsafe.Pointer(unsafe.SliceData(piece)), uint32(len(piece)), answer)
		}, func(answer *hostAnswer) { size += int(answer[1]) })
	}
	return size, c.failed("write", err)
}

// await returns nil once a read or write would not wait.
func (c *conn) await(kind uint32, until *deadline) error {
	// What has ended before comes first.
	select {
	case <-c.closed:
		return net.ErrClosed
	case <-until.channel():
		return os.ErrDeadlineExceeded
	default:
	}
	if (event{kind, c.number}).await(until.channel(), c.closed) {
		return nil
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
		return os.ErrDeadlineExceeded
	}
}

// CloseWrite tells the server that nothing more is sent.
func (c *conn) CloseWrite() error {
	return c.failed("close", connAsked(func(answer *hostAnswer) { hostConnFinish(c.number, answer) }, nil))
}

func (c *conn) Close() error {
	select {
	case <-c.closed:
		return c.failed("close", net.ErrClosed)
	default:
		close(c.closed)
		hostConnClose(c.number)
		return nil
	}
}

func (c *conn) LocalAddr() net.Addr { return hostAddr("") }

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(at time.Time) error {
	c.readDeadline.set(at)
	c.writeDeadline.set(at)
	return nil
}

func (c *conn) SetReadDeadline(at time.Time) error {
	c.readDeadline.set(at)
	return nil
}

func (c *conn) SetWriteDeadline(at time.Time) error {
	c.writeDeadline.set(at)
	return nil
}

// failed is an error as net tells it, or nil.
func (c *conn) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: c.remote, Err: err}
}

func connAsked(call, read func(answer *hostAnswer)) error { return resultOf(call, read, networkError) }

// hostAddr is an address by name and port: only the host knows more of it.
type hostAddr string

func (hostAddr) Network() string { return "tcp" }

func (a hostAddr) String() string { return string(a) }

// deadline is a time after which a wait ends, also one that has begun.
type deadline struct {
	timer  *time.Timer
	passed chan struct{}
}

func (d *deadline) channel() chan struct{} {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

func (d *deadline) set(at time.Time) {
	if d.timer != nil && !d.timer.Stop() {
		// It has run out: its goroutine may not have had its turn, and would end what waits for the new deadline.
		<-d.passed
	}
	d.timer = nil
	passed := d.channel()
	select {
	case <-passed:
		passed = make(chan struct{})
		d.passed = passed
	default:
	}
	if at.IsZero() {
		return
	}
	if left := time.Until(at); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(passed) })
	} else {
		close(passed)
	}
}
