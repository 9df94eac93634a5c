package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"handlers/conformance-go/kiln"
)

// asked is what tests/suite/clients.rs may ask of a request.
type asked struct {
	Client, Method, URL string
	Headers             [][2]string
	Body                string
	Repeat              int
	TimeoutMS           int64 `json:"timeout_ms"`
	Check               bool
	AddUp               bool `json:"add_up"`
	Then                string
}

func request(ctx context.Context, payload json.RawMessage) (any, error) {
	var asked asked
	if err := json.Unmarshal(payload, &asked); err != nil {
		return nil, kiln.Permanent(err)
	}
	var body io.Reader = strings.NewReader(asked.Body)
	switch {
	case asked.Repeat > 0:
		// Of a length that is not known, so that it is streamed.
		body = io.MultiReader(strings.NewReader(strings.Repeat(asked.Body, asked.Repeat)))
	case asked.Body == "":
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, asked.Method, asked.URL, body)
	if err != nil {
		return nil, kiln.Permanent(err)
	}
	for _, header := range asked.Headers {
		req.Header.Add(header[0], header[1])
	}
	client := http.DefaultClient
	if asked.Client == "http.Transport" {
		client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	if asked.TimeoutMS > 0 {
		client = &http.Client{Transport: client.Transport, Timeout: time.Duration(asked.TimeoutMS) * time.Millisecond}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if asked.AddUp {
		return addUp(resp.Body, asked.Then)
	}
	if asked.Check {
		if err := kiln.CheckStatus(resp); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	headers := [][2]string{}
	for name, values := range resp.Header {
		for _, value := range values {
			headers = append(headers, [2]string{name, value})
		}
	}
	return map[string]any{"status": resp.StatusCode, "headers": headers, "body": string(text)}, nil
}

func addUp(body io.Reader, then string) (any, error) {
	size, sum := 0, 0
	piece := make([]byte, 4096)
	for {
		read, err := body.Read(piece)
		size += read
		for _, char := range piece[:read] {
			sum += int(char)
		}
		if err == io.EOF {
			return map[string]int{"bytes": size, "sum": sum}, nil
		}
		if err != nil {
			return nil, err
		}
		if then != "" {
			if _, err := http.Get(then); err != nil {
				return nil, err
			}
			then = ""
		}
	}
}

// several makes three requests at once. A goroutine that only sleeps makes another one meanwhile.
func several(of string) (any, error) {
	var group sync.WaitGroup
	answers := make([]string, 4)
	get := func(at int, path string) {
		defer group.Done()
		resp, err := http.Get(of + path)
		if err != nil {
			answers[at] = err.Error()
			return
		}
		text, _ := io.ReadAll(resp.Body)
		answers[at] = string(text)
	}
	group.Add(4)
	for at, path := range []string{"/a", "/b", "/c"} {
		go get(at, path)
	}
	go func() {
		for range 3 {
			time.Sleep(5 * time.Millisecond)
		}
		get(3, "/slept")
	}()
	group.Wait()
	return answers, nil
}

// meanwhile uploads what the server takes only once something else was asked of it.
func meanwhile(of string, size int) (any, error) {
	text := func(resp *http.Response, err error) string {
		if err != nil {
			return err.Error()
		}
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	}
	uploaded := make(chan string)
	go func() {
		// Of a length that is not known, so that it is streamed.
		body := io.MultiReader(strings.NewReader(strings.Repeat("x", size)))
		uploaded <- text(http.Post(of+"/upload", "text/plain", body))
	}()
	time.Sleep(5 * time.Millisecond)
	other := text(http.Get(of + "/other"))
	return []string{<-uploaded, other}, nil
}

// cancelled requests what nobody answers, and calls it off once something else was answered.
func cancelled(ctx context.Context, of string) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		http.Get(of + "/now")
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, of+"/never", strings.NewReader("tea"))
	if err != nil {
		return nil, err
	}
	_, err = http.DefaultClient.Do(req)
	if _, err := http.Get(of + "/then"); err != nil {
		return nil, err
	}
	return what(err), nil
}

// spins makes a request while something can always run.
func spins(of string) any {
	answered := make(chan string)
	go func() {
		_, err := http.Get(of)
		answered <- fmt.Sprint(err)
	}()
	for {
		select {
		case err := <-answered:
			return err
		default:
			runtime.Gosched()
		}
	}
}

// why requests what cannot be had, within a short time.
func why(ctx context.Context, of string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, of, nil)
	if err != nil {
		return nil, err
	}
	_, err = http.DefaultClient.Do(req)
	return what(err), nil
}

// what says what users of net/http take an error for.
func what(err error) (kinds []string) {
	var wrapped *url.Error
	if !errors.As(err, &wrapped) {
		return append(kinds, "no url.Error")
	}
	for kind, is := range map[string]bool{
		"refused":   errors.Is(err, syscall.ECONNREFUSED),
		"unknown":   errors.As(err, new(*net.DNSError)),
		"timeout":   wrapped.Timeout(),
		"cancelled": errors.Is(err, context.Canceled),
		"broken":    errors.Is(err, io.ErrUnexpectedEOF),
	} {
		if is {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
