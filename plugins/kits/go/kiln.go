// Package kiln is what a Go handler sees of Kiln: its job, its failures, and what it may ask of the attempt it runs in.
//
// A handler is one function, handed to [Handle] in main. Outside Wasm everything here works too, with stand-ins for
// the host, so that handlers can be tested and debugged like any other Go code.
package kiln

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Job is one attempt at one job.
type Job struct {
	// ID is the job's identity, as its producer chose it, and the same on every attempt: an idempotency key.
	ID string
	// Name selected this handler. A plugin that handles several names tells them apart by it.
	Name string
	// Queue is where the job was taken from.
	Queue string
	// Payload is JSON text, byte for byte as it was pushed.
	Payload json.RawMessage
	// Attempt counts from 1; when it equals MaxAttempts, this is the last one.
	Attempt, MaxAttempts int
	// CreatedAt is zero where the producer did not say.
	CreatedAt time.Time
	// Metadata holds what the producer sent along. Numbers are kept as json.Number, so that none is rounded.
	Metadata map[string]any
}

// None is the result of a handler that has none.
type None = struct{}

// Handler does the work of an attempt. The payload is decoded by encoding/json, and the result is encoded by it; as
// json.RawMessage, either one is passed on untouched. A nil result is none.
//
// An error has the job tried again by the operator's retry policy, unless it is or wraps one that [RetryAfter] or
// [Permanent] made. A panic fails the attempt too, with Go's own message and trace.
//
// The context ends shortly before the attempt is interrupted, and when the host shuts down. A handler that then
// returns an error gives its job back without having used up an attempt.
type Handler[P, R any] func(ctx context.Context, job *Job, payload P) (R, error)

// Handle makes handler the plugin's handler. Call it in main, once.
func Handle[P, R any](handler Handler[P, R]) {
	run := func(ctx context.Context, job *Job) (json.RawMessage, error) { return Run(ctx, job, handler) }
	serve(run, func() { rehearse[P, R]() })
}

// rehearse makes what decoding a payload and encoding a result makes once: encoding/json keeps what it knows of a type.
func rehearse[P, R any]() {
	var payload P
	var result R
	if text, err := encode(payload); err == nil && text != nil {
		_ = decode(text, &payload)
	}
	_, _ = encode(result)
}

// Run makes one attempt at a job: it decodes the payload, calls the handler and encodes what that returns. For tests.
func Run[P, R any](ctx context.Context, job *Job, handler Handler[P, R]) (json.RawMessage, error) {
	var payload P
	if err := job.Decode(&payload); err != nil {
		return nil, err
	}
	result, err := handler(ctx, job, payload)
	if err != nil {
		return nil, err
	}
	return encode(result)
}

// To decode what is nested some thousand levels deep takes more stack than a handler has, which is a crash.
const maxDepth = 128

// ErrTooDeep is what is wrong with JSON that is nested more than 128 levels deep, as it is in the kits of all languages.
var ErrTooDeep = fmt.Errorf("nested more than %d levels deep", maxDepth)

// isTooDeep tells whether a JSON text is nested deeper than that.
func isTooDeep(text []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, char := range text {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = char == '\\', char != '"'
		case char == '"':
			inString = true
		case char == '[' || char == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case char == ']' || char == '}':
			depth--
		}
	}
	return false
}

// Decode decodes the payload, for handlers whose payloads are of several kinds. It fails as a payload that does not fit
// the handler's type does: permanently, because what does not fit will not fit the next time either.
func (j *Job) Decode(payload any) error {
	if err := decode(j.Payload, payload); err != nil {
		return Permanent(fmt.Errorf("payload: %w", err))
	}
	return nil
}

func decode(text json.RawMessage, payload any) error {
	if raw, ok := payload.(*json.RawMessage); ok {
		*raw = text
		return nil
	}
	if isTooDeep(text) {
		return ErrTooDeep
	}
	err := json.Unmarshal(text, payload)
	var mismatch *json.UnmarshalTypeError
	if !errors.As(err, &mismatch) {
		return err
	}
	err = fmt.Errorf("expected %s, got %s", mismatch.Type, mismatch.Value)
	if mismatch.Field != "" {
		err = fmt.Errorf("%s: %w", mismatch.Field, err)
	}
	return err
}

func encode(result any) (json.RawMessage, error) {
	switch result := result.(type) {
	case None:
		return nil, nil
	case json.RawMessage:
		return result, nil
	}
	text, err := json.Marshal(result)
	if err != nil {
		return nil, Permanent(fmt.Errorf("result: %w", err))
	}
	if bytes.Equal(text, []byte("null")) {
		return nil, nil
	}
	return text, nil
}
