package main

import (
	"os"
	"strings"
	"testing"
)

// TestEveryBugHasItsPlace: the places of the bugs in our own files are still there, once each, and no name is used twice. A
// change of the code that moves one has to move the bug along.
func TestEveryBugHasItsPlace(t *testing.T) {
	bugs, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, b := range bugs {
		if seen[b.name] {
			t.Errorf("%s is there twice", b.name)
		}
		seen[b.name] = true
		if !strings.HasPrefix(b.file, "internal/") {
			continue
		}
		src, err := os.ReadFile("../../" + b.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), b.old); n != 1 || b.old == b.new {
			t.Errorf("%s: its place is %d times in %s", b.name, n, b.file)
		}
	}
}
