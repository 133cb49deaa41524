// Command lay writes the corpus of package badtraces into a directory, a directory each, to
// try the program on by hand: go run ./internal/badtraces/lay DIR
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/badtraces"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: lay DIR")
		os.Exit(2)
	}
	for _, c := range badtraces.Cases() {
		dir := filepath.Join(os.Args[1], strings.ReplaceAll(c.Kind+"-"+c.Name, " ", "_"))
		if err := badtraces.Lay(dir, c.Files); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
