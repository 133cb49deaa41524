package report

import (
	"strings"
	"testing"
)

// TestNamesThatAreNone: a reader sees that a name is missing, a program gets what is there.
func TestNamesThatAreNone(t *testing.T) {
	tab := Table{Columns: []Column{{Key: "name", Title: "kernel", Left: true, Flex: true},
		{Key: "count", Title: "count"}}}
	tab.Add(Cell{"", ""}, Int(3))
	tab.Add(Cell{"k", "k"}, Int(2))
	out, _ := tab.forText(TextOptions{Width: 80})
	if got := out.rows[0][0] + out.rows[1][0]; got != "(no name)k" {
		t.Errorf("names are %q", got)
	}
	if raw := tab.Rows()[0][0]; raw.Text != "" || raw.Raw != "" {
		t.Errorf("the cell became %+v", raw)
	}
	if len(out.rows) != 2 || strings.TrimSpace(out.cols[0].title) != "kernel" {
		t.Errorf("%+v", out.cols)
	}
}
