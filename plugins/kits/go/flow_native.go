//go:build !wasip1

package kiln

import (
	"encoding/json"
	"fmt"
	"sync"
)

// EnqueuedJob is what a handler has enqueued, outside Wasm.
type EnqueuedJob struct {
	Name    string
	Payload json.RawMessage
	Options map[string]any
}

var enqueued struct {
	mutex sync.Mutex
	jobs  []EnqueuedJob
}

// Enqueued is what handlers have enqueued since it was called last. Only outside Wasm, for tests.
func Enqueued() []EnqueuedJob {
	enqueued.mutex.Lock()
	defer enqueued.mutex.Unlock()
	jobs := enqueued.jobs
	enqueued.jobs = nil
	return jobs
}

func hostEnqueue(name, payload, options string) (id string, err error) {
	enqueued.mutex.Lock()
	defer enqueued.mutex.Unlock()
	job := EnqueuedJob{Name: name, Payload: json.RawMessage(payload)}
	if err := json.Unmarshal([]byte(options), &job.Options); err != nil {
		return "", &FlowError{FlowInvalid, err.Error()}
	}
	enqueued.jobs = append(enqueued.jobs, job)
	return fmt.Sprintf("follow-up-%d", len(enqueued.jobs)), nil
}
