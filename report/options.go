package report

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// Widths of text. Below MinWidth the tables lose their meaning; above MaxWidth lines
// are hard to follow.
const (
	MinWidth     = 72
	MaxWidth     = 140
	DefaultWidth = 100
)

// TextOptions says what the reader's terminal can show. The zero value is 100 columns
// of Unicode without colours.
type TextOptions struct {
	Width int  // columns; 0: DefaultWidth; clamped to MinWidth…MaxWidth
	Color bool // use ANSI colours
	ASCII bool // no other characters than ASCII
	Ops   int  // operators listed per stage; 0: DefaultOps, < 0: all that the report has
	Rows  int  // requests and batches listed; 0: DefaultRows, < 0: all
}

// Rows of the tables that can be long.
const (
	DefaultOps  = 6
	DefaultRows = 10
)

func (o TextOptions) withDefaults() TextOptions {
	if o.Width == 0 {
		o.Width = DefaultWidth
	}
	o.Width = min(max(o.Width, MinWidth), MaxWidth)
	if o.Ops == 0 {
		o.Ops = DefaultOps
	}
	if o.Rows == 0 {
		o.Rows = DefaultRows
	}
	return o
}

// Detect returns the options that suit f: colours only on a terminal and never with
// NO_COLOR set or TERM=dumb; the terminal's width, else COLUMNS; ASCII where the
// locale is set and is not UTF-8. getenv is os.Getenv outside of tests.
func Detect(f *os.File, getenv func(string) string) TextOptions {
	var o TextOptions
	tty := f != nil && term.IsTerminal(int(f.Fd()))
	if tty {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			o.Width = w
		}
	}
	if w, err := strconv.Atoi(getenv("COLUMNS")); err == nil && w > 0 && o.Width == 0 {
		o.Width = w
	}
	o.Color = tty && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	for _, key := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(key)); v != "" {
			o.ASCII = !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")
			break
		}
	}
	return o
}
