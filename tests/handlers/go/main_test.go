package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"handlers/conformance-go/kiln"
)

func attempt(t *testing.T, payload string) (string, error) {
	t.Helper()
	job := &kiln.Job{ID: "7", Name: "n", Queue: "q", Payload: json.RawMessage(payload), Attempt: 1, MaxAttempts: 3}
	result, err := kiln.Run(t.Context(), job, conform)
	return string(result), err
}

func TestAnswersAsTheTableSays(t *testing.T) {
	t.Setenv("KEY", "wert")
	for payload, want := range map[string]string{
		"null":                                      "null",
		`{"n": 12345678901234567890 }`:              `{"n": 12345678901234567890 }`,
		`{"do": "echo", "s": "\u0000"}`:             `{"do": "echo", "s": "\u0000"}`,
		`{"do": "none"}`:                            "",
		`{"do": "config", "key": "KEY"}`:            `{"value":"wert"}`,
		`{"do": "config", "key": "NO_SUCH_KEY"}`:    `{"value":null}`,
		`{"do": "typed", "text": "a😀", "count": 4}`: `{"text":"a😀","length":2,"count":5}`,
		`{"do": "describe"}`: `{"attempt":1,"created_at_ms":0,"id":"7","max_attempts":3,` +
			`"metadata":null,"name":"n","queue":"q"}`,
	} {
		if got, err := attempt(t, payload); got != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", payload, got, err, want)
		}
	}
}

func TestFailsAsTheTableSays(t *testing.T) {
	for payload, want := range map[string]string{
		`{"do": "retry", "message": "m"}`:                   "retry: m",
		`{"do": "error", "message": "m"}`:                   "retry: m",
		`{"do": "retry-after", "message": "m", "ms": 1500}`: "retry after 1.5s: m",
		`{"do": "permanent", "message": "100 %s"}`:          "permanent: 100 %s",
		`{"do": "dance"}`:                                   "permanent: unknown: dance",
		`{"do": "typed", "text": 5}`:                        "permanent: payload: text: expected string, got number",
		`{"do": "typed", "count": "4"}`:                     "permanent: payload: count: expected int, got string",
	} {
		if _, err := attempt(t, payload); kind(err) != want {
			t.Errorf("%s: got %s, want %s", payload, kind(err), want)
		}
	}
}

func TestKeepsWhatAnErrorWraps(t *testing.T) {
	cause := errors.New("cause")
	for _, err := range []error{
		fmt.Errorf("while asking: %w", kiln.RetryAfter(time.Second, cause)),
		kiln.Permanentf("while asking: %w", cause),
	} {
		if !errors.Is(err, cause) || err.Error() != "while asking: cause" {
			t.Errorf("got %v", err)
		}
	}
}

func kind(err error) string {
	var permanent *kiln.PermanentError
	var later *kiln.RetryAfterError
	switch {
	case errors.As(err, &permanent):
		return fmt.Sprint("permanent: ", err)
	case errors.As(err, &later):
		return fmt.Sprintf("retry after %v: %v", later.After, err)
	}
	return fmt.Sprint("retry: ", err)
}
