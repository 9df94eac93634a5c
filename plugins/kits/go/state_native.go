//go:build !wasip1

package kiln

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// kept stands in for the host, in tests: no bounds, and no end of time. A test's call of a handler is taken for a job that
// is acknowledged.
var kept struct {
	mutex   sync.Mutex
	values  map[Bucket]map[string]keptValue
	version uint64
}

type keptValue struct {
	text    []byte
	version uint64
}

func hostStateGet(bucket Bucket, key string) (value []byte, version uint64, err error) {
	kept.mutex.Lock()
	defer kept.mutex.Unlock()
	found := kept.values[bucket][key]
	return slices.Clone(found.text), found.version, nil
}

func hostStateKeys(bucket Bucket, prefix, after string) (keys []string, err error) {
	kept.mutex.Lock()
	defer kept.mutex.Unlock()
	for _, key := range slices.Sorted(maps.Keys(kept.values[bucket])) {
		if strings.HasPrefix(key, prefix) && key > after && len(keys) < 1000 {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func hostStateWrite(bucket Bucket, made change) (became changed, err error) {
	kept.mutex.Lock()
	defer kept.mutex.Unlock()
	old, found := kept.values[bucket][made.key]
	isOther := made.condition == ifVersion && (!found || old.version != made.version)
	if isOther || made.condition == ifAbsent && found {
		return changed{}, refused(StateConflict, made.key)
	}
	if made.action == deleteIt {
		delete(kept.values[bucket], made.key)
		return changed{}, nil
	}
	if made.action == addTo {
		number := int64(0)
		if found {
			number, err = strconv.ParseInt(string(old.text), 10, 64)
		}
		became.number = number + made.by
		if err != nil || (became.number > number) != (made.by > 0) {
			return changed{}, refused(StateNotANumber, made.key)
		}
		made.value = strconv.AppendInt(nil, became.number, 10)
	}
	if kept.values[bucket] == nil {
		if kept.values == nil {
			kept.values = make(map[Bucket]map[string]keptValue)
		}
		kept.values[bucket] = make(map[string]keptValue)
	}
	kept.version++
	became.version = kept.version
	kept.values[bucket][made.key] = keptValue{made.value, became.version}
	return became, nil
}

func refused(kind StateErrorKind, key string) error {
	return &StateError{kind, fmt.Sprintf("the value of %q is not as the change expects it", key)}
}
