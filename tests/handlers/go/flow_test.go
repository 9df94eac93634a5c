package main

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"handlers/conformance-go/kiln"
)

func TestWhatIsEnqueuedIsSeenByTests(t *testing.T) {
	if _, err := enqueueAll("tea", 7); err != nil {
		t.Fatal(err)
	}
	jobs := kiln.Enqueued()
	if len(jobs) != 3 || jobs[0].Name != "after" || string(jobs[0].Payload) != `{"n":7,"text":"tea"}` {
		t.Fatalf("%+v", jobs)
	}
	wanted := map[string]any{
		"queue": "other", "delay": "90000ms", "id": "mine", "max_attempts": 2.0, "metadata": map[string]any{"who": "tea"},
	}
	if !reflect.DeepEqual(jobs[1].Options, wanted) || len(jobs[0].Options) != 0 {
		t.Fatalf("%+v", jobs)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 5, time.UTC)
	if _, err := kiln.Enqueue(kiln.FollowUp{Name: "a", At: at, Timeout: time.Microsecond}); err != nil {
		t.Fatal(err)
	}
	options := kiln.Enqueued()[0].Options
	if options["at"] != "2026-01-01T00:00:00.000000005Z" || options["timeout"] != "1ms" {
		t.Fatalf("%+v", options)
	}
	_, err := kiln.Enqueue(kiln.FollowUp{Name: "a", Payload: func() {}})
	if err == nil || errors.As(err, new(*kiln.FlowError)) {
		t.Fatal(err)
	}
}
