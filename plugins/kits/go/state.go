package kiln

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Bucket is where values outlast an attempt, by the name that the operator grants ([grants.state.NAME] in the manifest):
//
//	const counts = kiln.Bucket("counts")
//
// Values are JSON, as in the kits of all languages: a handler in one reads what another has written. A number that is added
// to is a whole number of JSON. Keys have 1 to 512 bytes of UTF-8. A bucket that is not granted ends the attempt: the
// handler never hears of it. Outside Wasm values are kept in memory, as long as the process lives.
type Bucket string

// StateErrorKind is what a [StateError] is about.
type StateErrorKind uint8

// The kinds are numbered as in wit/deps/kiln-state/values.wit.
const (
	StateInvalid     StateErrorKind = iota // A key that is empty, too long or not UTF-8.
	StateConflict                          // There is a value already, or one of another version.
	StateNotANumber                        // What was to be added to is no whole number, or the sum is none of 64 bits.
	StateTooLarge                          // A value is larger than the plugin's limits.
	StateTooMany                           // There were more calls than the plugin may make.
	StateFull                              // The bucket holds as many keys or bytes as it may.
	StateUnavailable                       // The bucket cannot be reached just now.
)

// StateError is why a call came to nothing. A handler that returns it has its job tried again.
type StateError struct {
	Kind    StateErrorKind
	Message string
}

func (e *StateError) Error() string { return "state: " + e.Message }

// Get is the value of a key, decoded by encoding/json, and whether there is one. An error is permanent where the value is
// not of this type.
func Get[T any](bucket Bucket, key string) (value T, found bool, err error) {
	value, version, err := GetVersioned[T](bucket, key)
	return value, version != 0, err
}

// GetVersioned is [Get] with the value's version, which changes with it and is 0 where there is none.
func GetVersioned[T any](bucket Bucket, key string) (value T, version uint64, err error) {
	text, version, err := hostStateGet(bucket, key)
	if err != nil || version == 0 {
		return value, 0, err
	}
	if err := decode(text, &value); err != nil {
		return value, 0, Permanent(fmt.Errorf("state: the value of %q: %w", key, err))
	}
	return value, version, nil
}

// Set makes this the value of a key, for as long as the bucket keeps values.
func (b Bucket) Set(key string, value any) error { return b.SetFor(key, value, 0) }

// SetFor is [Bucket.Set] for so long; 0 is for as long as the bucket keeps values, in no case longer. Less than 0 is a
// permanent error.
func (b Bucket) SetFor(key string, value any, ttl time.Duration) error {
	_, err := b.set(key, value, change{ttl: ttl})
	return err
}

// SetIfAbsent is [Bucket.SetFor] for a key that has no value, and tells whether that was so.
func (b Bucket) SetIfAbsent(key string, value any, ttl time.Duration) (bool, error) {
	_, err := b.set(key, value, change{condition: ifAbsent, ttl: ttl})
	return holds(err)
}

// Swap makes this the value of a key whose value still has that version, and returns the new one and whether that was so.
func (b Bucket) Swap(key string, version uint64, value any) (next uint64, swapped bool, err error) {
	became, err := b.set(key, value, change{condition: ifVersion, version: version})
	swapped, err = holds(err)
	return became.version, swapped, err
}

// Add adds to a number, to 0 where there is none, and returns the sum.
func (b Bucket) Add(key string, by int64) (int64, error) {
	became, err := hostStateWrite(b, change{key: key, action: addTo, by: by})
	return became.number, err
}

// Delete takes a value away.
func (b Bucket) Delete(key string) error {
	_, err := hostStateWrite(b, change{key: key, action: deleteIt})
	return err
}

// Keys are up to a thousand keys that begin with prefix, in the order of their bytes, after one of them if that is not "".
func (b Bucket) Keys(prefix, after string) ([]string, error) { return hostStateKeys(b, prefix, after) }

// SetOnCompletion is [Bucket.Set] together with the job's acknowledgement: once, though the job may run twice, and not at
// all if the attempt fails.
func (b Bucket) SetOnCompletion(key string, value any) error {
	_, err := b.set(key, value, change{onCompletion: true})
	return err
}

// AddOnCompletion is [Bucket.Add] together with the job's acknowledgement.
func (b Bucket) AddOnCompletion(key string, by int64) error {
	_, err := hostStateWrite(b, change{key: key, action: addTo, by: by, onCompletion: true})
	return err
}

// DeleteOnCompletion is [Bucket.Delete] together with the job's acknowledgement.
func (b Bucket) DeleteOnCompletion(key string) error {
	_, err := hostStateWrite(b, change{key: key, action: deleteIt, onCompletion: true})
	return err
}

func (b Bucket) set(key string, value any, made change) (changed, error) {
	if made.ttl < 0 {
		return changed{}, Permanentf("state: the value of %q cannot last for %v", key, made.ttl)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return changed{}, Permanent(fmt.Errorf("state: the value of %q: %w", key, err))
	}
	made.key, made.action, made.value = key, setTo, text
	return hostStateWrite(b, made)
}

// holds tells whether a change's condition held.
func holds(err error) (bool, error) {
	if state, ok := err.(*StateError); ok && state.Kind == StateConflict {
		return false, nil
	}
	return err == nil, err
}

// change is one of a value; what it does and asks for is numbered as in the contract.
type change struct {
	key          string
	action       byte
	value        []byte
	by           int64
	condition    byte
	version      uint64
	ttl          time.Duration
	onCompletion bool
}

const (
	setTo = iota
	deleteIt
	addTo
)

const (
	always = iota
	ifAbsent
	ifVersion
)

// changed is what became of a value.
type changed struct {
	version uint64
	number  int64
}

// How long an attempt waits that finds what it is to do once under way in another.
const underWayWait = 10 * time.Second

// What stands in a bucket of what is done once, in every kit: this, or done.
const underWay = "under_way"

type done[T any] struct {
	Done T `json:"done"`
}

// Once does something once for a key, such as a job's id, and returns what it came to: what it came to then, where it was
// done before. While another attempt is at it, the job is tried again later; where work fails, or returns what JSON cannot
// hold, it may be done again.
//
// It cannot promise more than the world around it: where the worker dies after work and before its result is kept, it is
// done again once the attempt's time is over. Hand the key on to whatever work calls, if that knows such keys.
func Once[T any](bucket Bucket, key string, work func() (T, error)) (result T, err error) {
	// Longer than this attempt can last, so that no other begins while it is at work.
	claimed, err := bucket.SetIfAbsent(key, underWay, Remaining()+time.Second)
	if err != nil {
		return result, err
	}
	if !claimed {
		return doneBefore[T](bucket, key)
	}
	value, err := work()
	var text json.RawMessage
	if err == nil {
		// A result that is no JSON fails here, while the key can still be freed.
		if text, err = json.Marshal(done[T]{value}); err != nil {
			err = Permanent(fmt.Errorf("state: the value of %q: %w", key, err))
		}
	}
	if err != nil {
		// A claim that cannot be deleted ends by itself. What went wrong before is what has to be told.
		_ = bucket.Delete(key)
		return result, err
	}
	// Where this fails the key stays taken: the work is done.
	if err := bucket.Set(key, text); err != nil {
		return result, err
	}
	return value, nil
}

func doneBefore[T any](bucket Bucket, key string) (result T, err error) {
	kept, found, err := Get[json.RawMessage](bucket, key)
	if err != nil {
		return result, err
	}
	if !found || string(kept) == `"`+underWay+`"` {
		return result, RetryAfterf(underWayWait, "another attempt is at %q", key)
	}
	var before done[json.RawMessage]
	err = decode(kept, &before)
	if err == nil && before.Done == nil {
		err = errors.New("it is not of what is done once")
	}
	if err == nil {
		err = decode(before.Done, &result)
	}
	if err != nil {
		return result, Permanent(fmt.Errorf("state: the value of %q: %w", key, err))
	}
	return result, nil
}
