// Command gen writes docs/parameters.md from the table of package config. Effects: that one file. It is run by go
// generate and is no part of the product.
package main

import (
	"fmt"
	"os"

	"github.com/lycosadb/lycosa/internal/config"
)

func main() {
	if err := os.WriteFile("../../docs/parameters.md", []byte(config.Markdown()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
