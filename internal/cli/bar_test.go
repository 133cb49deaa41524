package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/trace/open"
)

func TestBar(t *testing.T) {
	half := open.Progress{Files: 2, Done: 1, Read: 50 << 20, Size: 100 << 20, Events: 6_000_000,
		Elapsed: 3 * time.Second}

	var quick bytes.Buffer
	b := &Bar{w: &quick}
	b.Update(open.Progress{Files: 1, Read: 1, Size: 2, Elapsed: barAfter / 2})
	b.End()
	if quick.Len() > 0 {
		t.Errorf("a bar after half a second: %q", quick.String())
	}

	var out bytes.Buffer
	b = &Bar{w: &out}
	b.Update(half)
	b.End()
	for _, want := range []string{"1 of 2 files, 50.0 MiB of 100 MiB", "2.0 M events/s", "3s left", "50%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}

	out.Reset()
	b = &Bar{w: &out}
	b.Update(open.Progress{Files: 1, Read: 5 << 20, Events: 100, Elapsed: 2 * time.Second})
	b.End()
	if !strings.Contains(out.String(), "5.00 MiB, ") {
		t.Errorf("standard input: %q", out.String())
	}

	out.Reset()
	b = &Bar{w: &out}
	b.Count(8, 32, "round 3 of 8: armed")
	b.End()
	for _, want := range []string{"round 3 of 8: armed", "25%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}

	b = NewBar(&out) // no terminal
	out.Reset()
	b.Update(half)
	b.Count(1, 2, "nothing")
	b.End()
	if out.Len() > 0 {
		t.Errorf("a bar where there is no terminal: %q", out.String())
	}
}
