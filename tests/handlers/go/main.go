// Command conformance-go does what its payload says, so that a suite can hold Go's kit against those of other languages.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"handlers/conformance-go/kiln"
)

func main() { kiln.Handle(conform) }

// order is what a payload may say beside "do".
type order struct {
	Message, Key, Name, URL, Text string
	MS                            int64
	Size, N                       int
}

var count int

func conform(ctx context.Context, job *kiln.Job, payload json.RawMessage) (any, error) {
	var fields map[string]any
	err := job.Decode(&fields)
	if errors.Is(err, kiln.ErrTooDeep) {
		return nil, err
	}
	if err != nil || fields["do"] == nil {
		return payload, nil
	}
	if fields["do"] == "typed" {
		return kiln.Run(ctx, job, measure)
	}
	var order order
	if err := json.Unmarshal(payload, &order); err != nil {
		return nil, kiln.Permanent(err)
	}
	switch fields["do"] {
	case "echo":
		return payload, nil
	case "none":
		return nil, nil
	case "retry", "error":
		return nil, errors.New(order.Message)
	case "retry-after":
		return nil, kiln.RetryAfter(time.Duration(order.MS)*time.Millisecond, errors.New(order.Message))
	case "permanent":
		return nil, kiln.Permanentf("%s", order.Message)
	case "crash":
		panic(order.Message)
	case "describe":
		return describe(job), nil
	case "log":
		slog.Debug(order.Message)
		slog.Info(order.Message)
		slog.Warn(order.Message)
		slog.Error(order.Message)
		fmt.Println(order.Message)
		return nil, nil
	case "progress":
		kiln.Progress(50, "half way")
		return map[string]bool{"remaining": kiln.Remaining() > 0, "cancelled": kiln.Cancelled()}, nil
	case "config":
		return value(kiln.Config(order.Key)), nil
	case "env":
		return value(os.LookupEnv(order.Name)), nil
	case "random":
		return map[string]int64{"value": rand.Int64N(1 << 48)}, nil
	case "clock":
		return map[string]int64{"ms": time.Now().UnixMilli()}, nil
	case "fresh":
		return fresh()
	case "count":
		count++
		return map[string]int{"count": count}, nil
	case "nap":
		time.Sleep(time.Duration(order.MS) * time.Millisecond)
		return nil, nil
	case "http":
		return request(ctx, payload)
	case "several":
		return several(order.URL)
	case "meanwhile":
		return meanwhile(order.URL, order.Size)
	case "cancelled":
		return cancelled(ctx, order.URL)
	case "spins":
		return spins(order.URL), nil
	case "why":
		return why(ctx, order.URL)
	case "files":
		return work()
	case "enqueue":
		return enqueueAll(order.Text, order.N)
	case "state":
		return remember(order.Key)
	case "share":
		return share(order)
	case "decline":
		return kiln.Once(things, order.Key, func() (any, error) { return nil, kiln.Permanentf("%s", order.Message) })
	case "bulk":
		return map[string]string{"text": strings.Repeat("x", order.Size)}, nil
	}
	return nil, kiln.Permanentf("unknown: %v", fields["do"])
}

type text struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

type measured struct {
	Text   string `json:"text"`
	Length int    `json:"length"`
	Count  int    `json:"count"`
}

func measure(_ context.Context, _ *kiln.Job, text text) (measured, error) {
	return measured{text.Text, utf8.RuneCountInString(text.Text), text.Count + 1}, nil
}

func describe(job *kiln.Job) any {
	var createdAtMs int64
	if !job.CreatedAt.IsZero() {
		createdAtMs = job.CreatedAt.UnixMilli()
	}
	return map[string]any{
		"id":            job.ID,
		"name":          job.Name,
		"queue":         job.Queue,
		"attempt":       job.Attempt,
		"max_attempts":  job.MaxAttempts,
		"created_at_ms": createdAtMs,
		"metadata":      job.Metadata,
	}
}

// value is a looked-up value as JSON, null where there is none.
func value(value string, found bool) any {
	if !found {
		return map[string]any{"value": nil}
	}
	return map[string]any{"value": value}
}
