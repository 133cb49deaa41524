// Command licences reads a CycloneDX SBOM and fails if a component has no licence, or one
// that is not on the list: those that ask for no more than their text to be kept.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// allowed are SPDX identifiers. BSD-Source-Code is what the detector calls the licence of
// golang.org/x; CC-BY-4.0 covers the documents of a module whose code is Apache-2.0 and MIT.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-Source-Code", "CC-BY-4.0", "ISC", "MIT"}

type choice struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type sbom struct {
	Components []struct {
		Name     string   `json:"name"`
		Licenses []choice `json:"licenses"`
		Evidence struct {
			Licenses []choice `json:"licenses"`
		} `json:"evidence"`
	} `json:"components"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: licences SBOM.json")
		os.Exit(2)
	}
	bad, n, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
	if len(bad) > 0 {
		fmt.Fprintf(os.Stderr, "licences: not on the list of internal/licences:\n%s\n", strings.Join(bad, "\n"))
		os.Exit(1)
	}
	fmt.Printf("licences of %d modules are on the list\n", n)
}

// check returns the components of an SBOM whose licence is missing or not allowed.
func check(path string) (bad []string, n int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	var s sbom
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	if len(s.Components) == 0 {
		return nil, 0, fmt.Errorf("%s has no components", path)
	}
	for _, c := range s.Components {
		found := append(c.Licenses, c.Evidence.Licenses...)
		ok := len(found) > 0
		var ids []string
		for _, l := range found {
			ids = append(ids, l.License.ID)
			ok = ok && slices.Contains(allowed, l.License.ID)
		}
		if !ok {
			bad = append(bad, fmt.Sprintf("  %s: %s", c.Name, strings.Join(ids, ", ")))
		}
	}
	return bad, len(s.Components), nil
}
