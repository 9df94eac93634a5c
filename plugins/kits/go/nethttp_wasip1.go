//go:build kiln_nethttp

package kiln

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	_ "unsafe" // For linkname.
)

// A Go handler has no sockets. What net/http would send over them goes to the host instead, which resolves names, keeps
// to the grants and speaks TLS: `kiln build` has every http.Transport call roundTrip, and sets the build tag of this
// file, where a handler or a package it uses imports net/http. What a Transport says of dialling, TLS, proxies and
// connections means nothing here.

// A body that is no longer than this is sent in one piece, which needs no goroutine.
const maxWhole = 1 << 20

var errCanceled = errors.New("net/http: request canceled")

//go:linkname roundTrip net/http.kilnRoundTrip
func roundTrip(transport *http.Transport, req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	if req.Cancel != nil {
		go func() {
			select {
			case <-req.Cancel:
				cancel(errCanceled)
			case <-ctx.Done():
			}
		}()
	}
	resp, err := exchanged(ctx, cancel, transport, req)
	if err != nil {
		cancel(err)
		return nil, err
	}
	return resp, nil
}

func exchanged(ctx context.Context, cancel context.CancelCauseFunc, transport *http.Transport, req *http.Request,
) (*http.Response, error) {
	header, asksGzip := outgoing(transport, req)
	begun, err := send(ctx, cancel, transport, req, header)
	if err != nil {
		return nil, err
	}
	if err := begun.await(ctx); err != nil {
		begun.close()
		return nil, err
	}
	status, answered, err := begun.response()
	if err != nil {
		return nil, err
	}
	resp := &http.Response{
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        answered,
		ContentLength: -1,
		Request:       req,
		Body:          &answerBody{exchange: begun, ctx: ctx, cancel: cancel},
	}
	if length, err := strconv.ParseInt(answered.Get("Content-Length"), 10, 64); err == nil && length >= 0 {
		resp.ContentLength = length
	}
	switch {
	case req.Method == http.MethodHead, status == http.StatusNoContent, status == http.StatusNotModified:
		resp.Body.Close()
		resp.Body = http.NoBody
	case asksGzip && strings.EqualFold(answered.Get("Content-Encoding"), "gzip"):
		answered.Del("Content-Encoding")
		answered.Del("Content-Length")
		resp.ContentLength = -1
		resp.Uncompressed = true
		resp.Body = &unzipped{body: resp.Body}
	}
	return resp, nil
}

// outgoing is a request's header with what http.Transport adds to it.
func outgoing(transport *http.Transport, req *http.Request) (header http.Header, asksGzip bool) {
	header = req.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if _, set := header["User-Agent"]; !set {
		header.Set("User-Agent", "Go-http-client/1.1")
	} else if header.Get("User-Agent") == "" {
		header.Del("User-Agent")
	}
	asksGzip = !transport.DisableCompression && req.Method != http.MethodHead &&
		header.Get("Accept-Encoding") == "" && header.Get("Range") == ""
	if asksGzip {
		header.Set("Accept-Encoding", "gzip")
	}
	return header, asksGzip
}

// send begins the exchange. The request's body is closed in any case, as the contract of http.RoundTripper has it.
func send(ctx context.Context, cancel context.CancelCauseFunc, transport *http.Transport, req *http.Request,
	header http.Header,
) (exchange, error) {
	body := req.Body
	if body == nil {
		body = http.NoBody
	}
	if ctx.Err() != nil {
		body.Close()
		return 0, context.Cause(ctx)
	}
	url := *req.URL
	url.User, url.Fragment = nil, ""
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	open := func(kind uint32, whole []byte) (exchange, error) {
		return begin(method, url.String(), header, kind, whole, transport.ResponseHeaderTimeout)
	}
	if body != http.NoBody && (req.ContentLength <= 0 || req.ContentLength > maxWhole) {
		if req.ContentLength > 0 {
			header.Set("Content-Length", strconv.FormatInt(req.ContentLength, 10))
		}
		begun, err := open(streamedBody, nil)
		if err != nil {
			body.Close()
			return 0, err
		}
		go upload(ctx, cancel, begun, body)
		return begun, nil
	}
	// One byte more than there should be, to tell a body that is longer.
	whole, err := io.ReadAll(io.LimitReader(body, req.ContentLength+1))
	body.Close()
	switch {
	case err != nil:
		return 0, err
	case int64(len(whole)) != req.ContentLength:
		return 0, fmt.Errorf("http: ContentLength=%d with Body length %d", req.ContentLength, len(whole))
	case len(whole) > 0, method == http.MethodPost, method == http.MethodPut, method == http.MethodPatch:
		return open(wholeBody, whole)
	}
	return open(noBody, nil)
}

// upload sends a body as it is read. If that fails, so does the request.
func upload(ctx context.Context, cancel context.CancelCauseFunc, to exchange, body io.ReadCloser) {
	defer body.Close()
	piece := make([]byte, maxPiece)
	for ctx.Err() == nil {
		size, err := body.Read(piece)
		if size > 0 {
			if err := to.write(ctx, piece[:size]); err != nil {
				return // The answer, or its absence, tells.
			}
		}
		if err == io.EOF {
			to.finish()
			return
		}
		if err != nil {
			cancel(err)
			return
		}
	}
}

// answerBody is an answer's body as it comes.
type answerBody struct {
	exchange exchange
	ctx      context.Context
	cancel   context.CancelCauseFunc
	err      error // What ended it.
}

func (b *answerBody) Read(into []byte) (size int, err error) {
	if b.err != nil || len(into) == 0 {
		return 0, b.err
	}
	if err = b.exchange.await(b.ctx); err == nil {
		size, err = b.exchange.read(into)
	}
	if err != nil {
		b.end(err)
	}
	return size, err
}

func (b *answerBody) Close() error {
	b.end(http.ErrBodyReadAfterClose)
	return nil
}

func (b *answerBody) end(err error) {
	if b.err == nil {
		b.err = err
		b.exchange.close()
		b.cancel(err)
	}
}

// unzipped unpacks a body that the server has packed because the kit asked for it.
type unzipped struct {
	body   io.ReadCloser
	reader *gzip.Reader
}

func (u *unzipped) Read(into []byte) (size int, err error) {
	if u.reader == nil {
		// Not before the body is read: its first bytes may be late.
		if u.reader, err = gzip.NewReader(u.body); err != nil {
			return 0, err
		}
	}
	return u.reader.Read(into)
}

func (u *unzipped) Close() error { return u.body.Close() }
