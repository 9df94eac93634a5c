package main

import (
	"os"
	"path/filepath"
)

// work makes, appends to, moves, lists and reads files in /tmp, writes far beyond the end of one, and looks for what is
// outside.
func work() (any, error) {
	before, err := names()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir("/tmp/folder", 0o777); err != nil {
		return nil, err
	}
	one, err := os.CreateTemp("/tmp/folder", "one-*.txt")
	if err != nil {
		return nil, err
	}
	if _, err := one.WriteString("tea ☕"); err != nil {
		return nil, err
	}
	one.Close()
	more, err := os.OpenFile(one.Name(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := more.WriteString(" and more"); err != nil {
		return nil, err
	}
	more.Close()
	if err := os.Rename(one.Name(), filepath.Join(os.TempDir(), "two.txt")); err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/tmp/two.txt")
	if err != nil {
		return nil, err
	}
	far, err := os.Create("/tmp/far")
	if err != nil {
		return nil, err
	}
	_, farErr := far.WriteAt([]byte("x"), 1<<40)
	far.Close()
	if err := os.Remove("/tmp/far"); err != nil {
		return nil, err
	}
	writeErr := os.WriteFile("/outside", []byte("x"), 0o666)
	_, readErr := os.ReadFile("/tmp/../etc/passwd")
	after, err := names()
	return map[string]any{
		"before": before, "text": string(text), "names": after, "far": farErr == nil,
		"outside": writeErr == nil || readErr == nil,
	}, err
}

func names() ([]string, error) {
	entries, err := os.ReadDir("/tmp")
	found := []string{}
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found, err
}
