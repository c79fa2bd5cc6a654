// Command gen writes the pictures of the lifecycle, made from the tables of package lifecycle, into the documents of
// the repository: docs/lifecycle.svg, and README.md and ARCHITECTURE.md between their markers. Effects: these files. It
// is run by go generate and is no part of the product.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

func main() {
	root := flag.String("root", ".", "root of the repository")
	flag.Parse()
	if err := generate(*root); err != nil {
		fmt.Fprintln(os.Stderr, "lifecycle/gen:", err)
		os.Exit(1)
	}
}

// sections are the documents with a generated part.
func sections() map[string]string {
	return map[string]string{
		"README.md":       lifecycle.ReadmeSection(svgPath),
		"ARCHITECTURE.md": lifecycle.ArchitectureSection(),
	}
}

// svgPath is where the picture lies, from the root of the repository.
const svgPath = "docs/lifecycle.svg"

// wanted returns what each file must hold; a document must be there already, with its markers.
func wanted(root, name string) ([]byte, error) {
	if name == svgPath {
		return []byte(lifecycle.SVG()), nil
	}
	document, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	text, err := lifecycle.Splice(string(document), sections()[name])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return []byte(text), nil
}

func names() []string { return []string{svgPath, "README.md", "ARCHITECTURE.md"} }

func generate(root string) error {
	for _, name := range names() {
		text, err := wanted(root, name)
		if err != nil {
			return err
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
