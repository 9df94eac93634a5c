package main

import (
	"encoding/json"

	"handlers/conformance-go/kiln"
)

const things = kiln.Bucket("things")

type thing struct {
	Text string `json:"text"`
	N    int    `json:"n"`
}

// remember keeps, changes and does once what conformance.rs looks for.
func remember(key string) (result any, err error) {
	// The first that failed says what becomes of the job.
	note := func(failed error) {
		if err == nil {
			err = failed
		}
	}
	get := func() json.RawMessage {
		value, found, failed := kiln.Get[json.RawMessage](things, key)
		note(failed)
		if !found {
			return json.RawMessage("null")
		}
		return value
	}
	before := get()
	note(things.Set(key, thing{"tea ☕", 1}))
	read, version, failed := kiln.GetVersioned[thing](things, key)
	note(failed)
	absent, failed := things.SetIfAbsent(key, 0, 0)
	note(failed)
	_, swapped, failed := things.Swap(key, version, []int{1})
	note(failed)
	_, stale, failed := things.Swap(key, version, []int{2})
	note(failed)
	_, failed = things.Add(key+"/n", 40)
	note(failed)
	counted, failed := things.Add(key+"/n", 2)
	note(failed)
	keys, failed := things.Keys(key, "")
	note(failed)
	note(things.Delete(key))
	gone := get()
	var once [2]string
	calls := 0
	for i := range once {
		once[i], failed = kiln.Once(things, key+"/once", func() (string, error) {
			calls++
			return "done", nil
		})
		note(failed)
	}
	note(things.AddOnCompletion("jobs", 1))
	return map[string]any{
		"before": before, "read": read, "absent": absent, "swapped": swapped, "stale": stale, "counted": counted,
		"keys": keys, "gone": gone, "once": once, "calls": calls,
	}, err
}

// share reads what another handler has kept, and keeps what the next one reads.
func share(order order) (result any, err error) {
	before, found, err := kiln.Get[thing](things, order.Key)
	if err != nil {
		return nil, err
	}
	if err := things.Set(order.Key, thing{order.Text, order.N}); err != nil {
		return nil, err
	}
	sum, err := things.Add(order.Key+"/n", int64(order.N))
	if err != nil {
		return nil, err
	}
	once, err := kiln.Once(things, order.Key+"/once", func() (string, error) { return order.Text, nil })
	shared := map[string]any{"before": nil, "sum": sum, "once": once}
	if found {
		shared["before"] = before
	}
	return shared, err
}
