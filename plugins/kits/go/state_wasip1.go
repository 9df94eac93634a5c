package kiln

import (
	"strings"
	"unsafe"
)

// kiln:state/values of wit/, lowered as what host_wasip1.go has. A handler that uses none of it imports none of it.

//go:wasmimport kiln:state/values@0.1.0 get
func stateGet(bucket string, keys unsafe.Pointer, count uint32, answer *hostAnswer)

//go:wasmimport kiln:state/values@0.1.0 list-keys
func stateListKeys(bucket, prefix string, hasAfter uint32, after string, limit uint32, answer *hostAnswer)

//go:wasmimport kiln:state/values@0.1.0 write
func stateWrite(bucket string, changes unsafe.Pointer, count uint32, answer *hostAnswer)

//go:wasmimport kiln:state/values@0.1.0 write-on-completion
func stateWriteOnCompletion(bucket string, changes unsafe.Pointer, count uint32, answer *hostAnswer)

// How many keys are asked for at once: as many as the host lists.
const maxKeys = 1000

// loweredKey is a list of one key.
type loweredKey struct {
	at, size uint32
	key      string // Not read by the host: it keeps the text where it is.
}

// loweredChange is a list of one change.
type loweredChange struct {
	keyAt, keySize uint32
	action, _      uint32
	argument       uint64
	condition, _   uint32
	version        uint64
	hasTTL, _      uint32
	ttlMs          uint64
	key            string // Not read by the host: these keep what is lowered where it is.
	value          []byte
}

func hostStateGet(bucket Bucket, key string) (value []byte, version uint64, err error) {
	keys := &loweredKey{key: key}
	keys.at, keys.size = lowered(keys.key)
	err = stateAsked(bucket, key, func(answer *hostAnswer) {
		stateGet(string(bucket), unsafe.Pointer(keys), 1, answer)
	}, func(answer *hostAnswer) {
		// option<entry>: whether there is one; value and version.
		type option struct {
			some, _  uint32
			at, size uint32
			version  uint64
		}
		entry := (*option)(unsafe.Add(nil, answer[1]))
		if byte(entry.some) != 0 {
			value, version = append([]byte{}, memory(entry.at, entry.size)...), entry.version
		}
	})
	return value, version, err
}

func hostStateKeys(bucket Bucket, prefix, after string) (keys []string, err error) {
	var hasAfter uint32
	if after != "" {
		hasAfter = 1
	}
	err = stateAsked(bucket, prefix+after, func(answer *hostAnswer) {
		stateListKeys(string(bucket), prefix, hasAfter, after, maxKeys, answer)
	}, func(answer *hostAnswer) {
		for _, key := range unsafe.Slice((*[2]uint32)(unsafe.Add(nil, answer[1])), answer[2]) {
			keys = append(keys, strings.Clone(lifted(key[0], key[1])))
		}
	})
	return keys, err
}

func hostStateWrite(bucket Bucket, made change) (became changed, err error) {
	changes := &loweredChange{
		action:    uint32(made.action),
		argument:  uint64(made.by),
		condition: uint32(made.condition),
		version:   made.version,
		key:       made.key,
		value:     made.value,
	}
	changes.keyAt, changes.keySize = lowered(changes.key)
	if made.action == setTo {
		at, size := lowered(unsafe.String(unsafe.SliceData(changes.value), len(changes.value)))
		changes.argument = uint64(size)<<32 | uint64(at)
	}
	if made.ttl != 0 {
		changes.hasTTL, changes.ttlMs = 1, roundedUpMs(made.ttl)
	}
	if made.onCompletion {
		return changed{}, stateAsked(bucket, made.key, func(answer *hostAnswer) {
			stateWriteOnCompletion(string(bucket), unsafe.Pointer(changes), 1, answer)
		}, nil)
	}
	err = stateAsked(bucket, made.key, func(answer *hostAnswer) {
		stateWrite(string(bucket), unsafe.Pointer(changes), 1, answer)
	}, func(answer *hostAnswer) { became = *(*changed)(unsafe.Add(nil, answer[1])) })
	return became, err
}

func stateAsked(bucket Bucket, key string, call, read func(answer *hostAnswer)) error {
	// The host stops a handler that hands it anything else as a string, and what is made fit would be another key.
	if utf8(string(bucket)) != string(bucket) || utf8(key) != key {
		return &StateError{StateInvalid, "a name or key that is not UTF-8"}
	}
	return resultOf(call, read, func(kind byte, message string) error {
		return &StateError{StateErrorKind(kind), message}
	})
}
