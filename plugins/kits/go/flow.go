package kiln

import (
	"encoding/json"
	"fmt"
	"time"
)

// FollowUp is a job that a handler enqueues. All but the name may be left out.
type FollowUp struct {
	Name        string         `json:"-"`
	Payload     any            `json:"-"`               // What encoding/json makes of it.
	Queue       string         `json:"queue,omitempty"` // Else the queue of the handler's own job.
	Delay       time.Duration  `json:"-"`               // Not before so long after the acknowledgement.
	At          time.Time      `json:"-"`               // Not before this time.
	MaxAttempts int            `json:"max_attempts,omitempty"`
	Timeout     time.Duration  `json:"-"`                  // Of each attempt.
	ID          string         `json:"id,omitempty"`       // Else one that follows from the id of the handler's own job.
	Metadata    map[string]any `json:"metadata,omitempty"` // In its key "kiln" stands what a job asks of Kiln.
}

// FlowErrorKind is what a [FlowError] is about.
type FlowErrorKind uint8

// The kinds are numbered as in wit/deps/kiln-flow/jobs.wit.
const (
	FlowInvalid  FlowErrorKind = iota // No name, a payload that is no JSON, an option with a wrong value.
	FlowTooLarge                      // It is larger than all that the attempt may still enqueue.
	FlowTooMany                       // The attempt has enqueued as many jobs as it may.
	FlowTooDeep                       // The handler's own job is a follow-up of follow-ups, as far as that may go.
)

// FlowError is why a job cannot be enqueued. A handler that returns it fails for good: the same would come of it again.
type FlowError struct {
	Kind    FlowErrorKind
	Message string
}

func (e *FlowError) Error() string { return "enqueue: " + e.Message }

// Enqueue has a job pushed with the acknowledgement of the handler's own job, and returns its id:
//
//	id, err := kiln.Enqueue(kiln.FollowUp{Name: "invoice", Payload: order, Queue: "mails"})
//
// If the attempt fails, nothing is pushed. A job that runs twice enqueues the same jobs, with the same ids. What the operator
// does not grant ([grants.jobs] in the manifest) ends the attempt. Outside Wasm, [Enqueued] tells what was asked for.
func Enqueue(job FollowUp) (id string, err error) {
	payload, err := json.Marshal(job.Payload)
	if err != nil {
		return "", Permanent(fmt.Errorf("enqueue: the payload: %w", err))
	}
	type plain FollowUp
	options := struct {
		plain
		Delay   string `json:"delay,omitempty"`
		At      string `json:"at,omitempty"`
		Timeout string `json:"timeout,omitempty"`
	}{plain: plain(job), Delay: asMs(job.Delay), Timeout: asMs(job.Timeout)}
	if !job.At.IsZero() {
		options.At = job.At.Format(time.RFC3339Nano)
	}
	text, err := json.Marshal(options)
	if err != nil {
		return "", Permanent(fmt.Errorf("enqueue: the metadata: %w", err))
	}
	id, err = hostEnqueue(job.Name, string(payload), string(text))
	if err != nil {
		return "", Permanent(err)
	}
	return id, nil
}

func asMs(duration time.Duration) string {
	if duration == 0 {
		return ""
	}
	return fmt.Sprintf("%dms", (duration+time.Millisecond-1)/time.Millisecond)
}
