package main

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"handlers/conformance-go/kiln"
)

func TestFollowsRetryAfterOf429And503(t *testing.T) {
	answered := func(status int, retryAfter string) error {
		of, _ := url.Parse("https://ada:secret@a.example:8443/secret?secret")
		return kiln.CheckStatus(&http.Response{
			Status:     http.StatusText(status),
			StatusCode: status,
			Header:     http.Header{"Retry-After": {retryAfter}},
			Body:       io.NopCloser(strings.NewReader("")),
			Request:    &http.Request{Method: http.MethodGet, URL: of},
		})
	}
	for said, want := range map[string]time.Duration{
		"7":                             7 * time.Second,
		"200000":                        200_000 * time.Second,
		"18446744073709551615":          9223372036 * time.Second,
		"Sun, 06 Nov 1994 08:49:37 GMT": 0,
	} {
		var later *kiln.RetryAfterError
		if err := answered(503, said); !errors.As(err, &later) || later.After != want {
			t.Errorf("%s: got %v", said, err)
		}
	}
	for _, said := range []string{"-7", "soon", ""} {
		if err := answered(429, said); errors.As(err, new(*kiln.RetryAfterError)) {
			t.Errorf("%s: got %v", said, err)
		}
	}
	for _, status := range []int{408, 425, 500} {
		err := answered(status, "7")
		if errors.As(err, new(*kiln.RetryAfterError)) || errors.As(err, new(*kiln.PermanentError)) {
			t.Errorf("%d: got %v", status, err)
		}
		if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "GET https://a.example:8443 ") {
			t.Errorf("got %v", err)
		}
	}
}
