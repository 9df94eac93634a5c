package main

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"handlers/conformance-go/kiln"
)

func TestKeepsValuesInMemory(t *testing.T) {
	bucket, other := kiln.Bucket(t.Name()), kiln.Bucket("other")
	must := func(err error) {
		if t.Helper(); err != nil {
			t.Fatal(err)
		}
	}
	kind := func(err error) kiln.StateErrorKind {
		var state *kiln.StateError
		if t.Helper(); !errors.As(err, &state) {
			t.Fatalf("got %v", err)
		}
		return state.Kind
	}
	must(bucket.Set("b", thing{"tea", 7}))
	if _, found, err := kiln.Get[thing](other, "b"); found || err != nil {
		t.Errorf("got %v, %v", found, err)
	}
	value, version, err := kiln.GetVersioned[thing](bucket, "b")
	if must(err); value != (thing{"tea", 7}) || version == 0 {
		t.Errorf("got %v", value)
	}
	for _, swaps := range []bool{true, false} {
		next, swapped, err := bucket.Swap("b", version, 8)
		if must(err); swapped != swaps || swapped != (next > version) {
			t.Errorf("got %v, %v, want %v", next, swapped, swaps)
		}
	}
	if set, err := bucket.SetIfAbsent("b", 1, time.Minute); set || err != nil {
		t.Errorf("got %v, %v", set, err)
	}
	if _, swapped, err := bucket.Swap("none", 0, 1); swapped || err != nil {
		t.Errorf("got %v, %v", swapped, err)
	}
	if sum, err := bucket.Add("a", math.MaxInt64); sum != math.MaxInt64 || err != nil {
		t.Errorf("got %v, %v", sum, err)
	}
	must(bucket.SetOnCompletion("c", "tea"))
	for _, key := range []string{"a", "c"} {
		if _, err := bucket.Add(key, 1); kind(err) != kiln.StateNotANumber {
			t.Errorf("%s: got %v", key, err)
		}
	}
	var permanent *kiln.PermanentError
	if _, _, err := kiln.Get[int](bucket, "c"); !errors.As(err, &permanent) {
		t.Errorf("got %v", err)
	}
	all, err := bucket.Keys("", "")
	must(err)
	after, err := bucket.Keys("", "b")
	if must(err); !slices.Equal(all, []string{"a", "b", "c"}) || !slices.Equal(after, []string{"c"}) {
		t.Errorf("got %v, %v", all, after)
	}
	if err := bucket.SetFor("b", 1, -time.Second); !errors.As(err, &permanent) {
		t.Errorf("got %v", err)
	}
	must(bucket.DeleteOnCompletion("b"))
	if _, found, _ := kiln.Get[int](bucket, "b"); found {
		t.Error("it is still there")
	}
}

func TestDoesOnceWhatSucceeds(t *testing.T) {
	bucket := kiln.Bucket(t.Name())
	calls := 0
	charge := func(key string, fails error) (string, error) {
		return kiln.Once(bucket, key, func() (string, error) {
			calls++
			return "receipt", fails
		})
	}
	if _, err := charge("1", errors.New("declined")); err == nil || err.Error() != "declined" {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if receipt, err := charge("1", nil); receipt != "receipt" || err != nil {
			t.Errorf("got %v, %v", receipt, err)
		}
	}
	if kept, _, _ := kiln.Get[json.RawMessage](bucket, "1"); calls != 2 || string(kept) != `{"done":"receipt"}` {
		t.Errorf("got %d, %s", calls, kept)
	}
	if _, err := kiln.Once(bucket, "no JSON", func() (func(), error) { return nil, nil }); !errors.As(err, new(*kiln.PermanentError)) {
		t.Errorf("got %v", err)
	}
	if _, found, _ := kiln.Get[any](bucket, "no JSON"); found {
		t.Error("its key is not free")
	}
	// What another kit has kept of a job without a result.
	if err := bucket.Set("2", json.RawMessage(`{"done":null}`)); err != nil {
		t.Fatal(err)
	}
	if receipt, err := charge("2", nil); receipt != "" || err != nil {
		t.Errorf("got %v, %v", receipt, err)
	}
	for _, kept := range []any{"under_way", map[string]int{"undone": 1}, []int{1}} {
		if err := bucket.Set("3", kept); err != nil {
			t.Fatal(err)
		}
		_, err := charge("3", nil)
		var later *kiln.RetryAfterError
		isLater := errors.As(err, &later) && later.After == 10*time.Second
		if isLater != (kept == any("under_way")) || isLater == errors.As(err, new(*kiln.PermanentError)) {
			t.Errorf("%v: got %v", kept, err)
		}
	}
	if calls != 2 {
		t.Errorf("got %d calls", calls)
	}
}
