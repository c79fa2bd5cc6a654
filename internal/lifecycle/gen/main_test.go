package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The pictures in the repository are those of the tables; run `go generate ./internal/lifecycle` after changing these.
func TestDocumentsAreNotStale(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	for _, name := range names() {
		want, err := wanted(root, name)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./internal/lifecycle", name)
		}
	}
}

func TestGenerate(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if generate(root) == nil {
		t.Error("no error without README.md")
	}
	write("README.md", "a\n<!-- lifecycle:begin -->\nold\n<!-- lifecycle:end -->\nb\n")
	write("ARCHITECTURE.md", "no markers\n")
	if generate(root) == nil {
		t.Error("no error for a document without markers")
	}
	write("ARCHITECTURE.md", "<!-- lifecycle:begin --><!-- lifecycle:end -->")
	for range 2 {
		if err := generate(root); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(filepath.Join(root, "README.md"))
	want := "a\n<!-- lifecycle:begin -->\n" +
		"![The states of an instance and the stages of its process](docs/lifecycle.svg)\n<!-- lifecycle:end -->\nb\n"
	if string(got) != want {
		t.Errorf("README.md is now %q", got)
	}
}
