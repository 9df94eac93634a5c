package main

import (
	crand "crypto/rand"
	"encoding/hex"
	"hash/maphash"
	oldrand "math/rand"
	"math/rand/v2"
	"os"
	"time"
)

// What init leaves behind is there in every attempt: a goroutine that waits, a timer, a map.
var (
	numbers = make(chan int)
	doubled = make(chan int)
	soon    = time.NewTimer(time.Millisecond)
	letters = map[string]bool{}
)

func init() {
	for letter := 'a'; letter <= 'z'; letter++ {
		letters[string(letter)] = true
	}
	go func() {
		for number := range numbers {
			doubled <- 2 * number
		}
	}()
}

// fresh tells what no two attempts may have in common, and what all have to have.
func fresh() (any, error) {
	begin := time.Now()
	secret := make([]byte, 16)
	if _, err := crand.Read(secret); err != nil {
		return nil, err
	}
	order := ""
	for letter := range letters {
		order += letter
	}
	numbers <- 21
	<-soon.C
	return map[string]any{
		"secret":    hex.EncodeToString(secret),
		"rand":      rand.Uint64(),
		"old_rand":  oldrand.Uint64(),
		"hash":      maphash.String(maphash.MakeSeed(), "tea"),
		"order":     order,
		"unix_ms":   begin.UnixMilli(),
		"waited_us": time.Since(begin).Microseconds(),
		"doubled":   <-doubled,
		"args":      os.Args,
		"environ":   os.Environ(),
	}, nil
}
