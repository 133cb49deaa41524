// Package docpart keeps parts of the documentation's pages equal to what tests generate: tables of
// what the code does. A part stands between two lines of its page:
//
//	<!-- NAME: made by go test ./PACKAGE -update -->
//	<!-- end of NAME -->
package docpart

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Part is a part of a page.
type Part struct {
	Page string // path of the page, from the test's directory
	Name string
	Make string // the command that makes it
}

// Keep fails the test unless the part equals text; with update set it replaces the part by text,
// which ends with a line's end.
func (p Part) Keep(t testing.TB, text string, update bool) {
	t.Helper()
	page, err := os.ReadFile(p.Page)
	if err != nil {
		t.Fatal(err)
	}
	want, err := p.put(string(page), text)
	switch {
	case err != nil:
		t.Fatal(err)
	case update:
		if err := os.WriteFile(p.Page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case string(page) != want:
		t.Errorf("%s of %s is not what the code says: run %s", p.Name, p.Page, p.Make)
	}
}

// put returns the page with text in place of the part.
func (p Part) put(page, text string) (string, error) {
	begin := fmt.Sprintf("<!-- %s: made by %s -->\n", p.Name, p.Make)
	end := fmt.Sprintf("<!-- end of %s -->\n", p.Name)
	before, rest, found := strings.Cut(page, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", fmt.Errorf("%s has no place for it: want the lines %q and %q", p.Page, begin, end)
	}
	return before + begin + text + end + after, nil
}
