package main

import (
	"errors"
	"time"

	"handlers/conformance-go/kiln"
)

// enqueueAll is what the act `enqueue` of all languages does.
func enqueueAll(text string, n int) (any, error) {
	first, err := kiln.Enqueue(kiln.FollowUp{Name: "after", Payload: map[string]any{"text": text, "n": n}})
	if err != nil {
		return nil, err
	}
	second, err := kiln.Enqueue(kiln.FollowUp{
		Name:        "after",
		Payload:     []int{n},
		Queue:       "other",
		Delay:       90 * time.Second,
		ID:          "mine",
		MaxAttempts: 2,
		Metadata:    map[string]any{"who": text},
	})
	if err != nil {
		return nil, err
	}
	var refused *kiln.FlowError
	_, err = kiln.Enqueue(kiln.FollowUp{Name: "after", Queue: "a b"})
	told := errors.As(err, &refused) && refused.Kind == kiln.FlowInvalid
	return map[string]any{"ids": []string{first, second}, "refused": told}, nil
}
