// Command gen writes the table of errors as Go source and as a page for people: codes.go, table.go and docs/errors.md,
// all of them from codes.txt. Effects: these files. It is run by go generate and is no part of the product.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "root of the repository")
	flag.Parse()
	if err := generate(*root); err != nil {
		fmt.Fprintln(os.Stderr, "errcode/gen:", err)
		os.Exit(1)
	}
}

// sourcePath is the table that everything is made from, relative to the root of the repository like all paths here.
const sourcePath = "internal/errcode/codes.txt"

// outputs returns what each generated file must hold.
func outputs(root string) (map[string][]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, sourcePath))
	if err != nil {
		return nil, err
	}
	codes, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sourcePath, err)
	}
	constants, err := constantsSource(codes)
	if err != nil {
		return nil, err
	}
	table, err := tableSource(codes)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"internal/errcode/codes.go": constants,
		"internal/errcode/table.go": table,
		"docs/errors.md":            page(codes),
	}, nil
}

func generate(root string) error {
	files, err := outputs(root)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
