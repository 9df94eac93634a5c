//go:build !wasip1

package kiln

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Progress reports how far the attempt has come, in percent, with a note that may be empty. Outside Wasm it is logged
// at debug.
func Progress(percent int, note string) {
	slog.Debug("progress", "percent", percent, "note", note)
}

// Remaining is the time until the attempt is interrupted. Outside Wasm it is always the default timeout of a job.
func Remaining() time.Duration { return 30 * time.Second }

// Cancelled tells whether the host is shutting down. Outside Wasm it never is.
func Cancelled() bool { return false }

// Config looks up a value that the operator set in the [config] table of the plugin's manifest. Outside Wasm it is
// looked up in the environment, so that a test can use t.Setenv.
func Config(key string) (value string, found bool) { return os.LookupEnv(key) }

// serve makes one attempt with the payload that stands on the command line: `go run . '{"customer": …}'`.
func serve(run func(context.Context, *Job) (json.RawMessage, error), _ func()) {
	job := &Job{ID: "1", Name: "native", Queue: "default", Payload: json.RawMessage("null"), Attempt: 1, MaxAttempts: 1}
	if len(os.Args) > 1 {
		job.Payload = json.RawMessage(os.Args[1])
	}
	result, err := run(newAttempt(), job)
	if err != nil {
		kind, after := classify(err)
		fmt.Fprintln(os.Stderr, []string{"retry:", fmt.Sprintf("retry after %v:", after), "permanent:"}[kind], err)
		os.Exit(1)
	}
	if result != nil {
		fmt.Println(string(result))
	}
}
