package kiln

import "strings"

// kiln:flow/jobs of wit/, lowered as what host_wasip1.go has. A handler that uses none of it imports none of it.

//go:wasmimport kiln:flow/jobs@0.1.0 enqueue
func flowEnqueue(name, payload string, hasOptions uint32, options string, answer *hostAnswer)

func hostEnqueue(name, payload, options string) (id string, err error) {
	err = resultOf(func(answer *hostAnswer) {
		flowEnqueue(utf8(name), utf8(payload), 1, utf8(options), answer)
	}, func(answer *hostAnswer) {
		id = strings.Clone(lifted(answer[1], answer[2]))
	}, func(kind byte, message string) error {
		return &FlowError{FlowErrorKind(kind), message}
	})
	return id, err
}
