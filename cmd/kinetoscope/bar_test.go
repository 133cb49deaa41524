package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/trace/open"
)

func TestBar(t *testing.T) {
	half := open.Progress{Files: 2, Done: 1, Read: 50 << 20, Size: 100 << 20, Events: 6_000_000, Elapsed: 3 * time.Second}

	var quick bytes.Buffer
	b := &bar{w: &quick}
	b.update(open.Progress{Files: 1, Read: 1, Size: 2, Elapsed: barAfter / 2})
	b.end()
	if quick.Len() > 0 {
		t.Errorf("a bar after half a second: %q", quick.String())
	}

	var out bytes.Buffer
	b = &bar{w: &out}
	b.update(half)
	b.end()
	for _, want := range []string{"1 of 2 files, 50.0 MiB of 100 MiB", "2.0 M events/s", "3s left", "50%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}

	out.Reset()
	b = &bar{w: &out}
	b.update(open.Progress{Files: 1, Read: 5 << 20, Events: 100, Elapsed: 2 * time.Second})
	b.end()
	if !strings.Contains(out.String(), "5.00 MiB, ") {
		t.Errorf("standard input: %q", out.String())
	}

	out.Reset()
	b = &bar{w: &out}
	b.count(8, 32, "round 3 of 8: armed")
	b.end()
	for _, want := range []string{"round 3 of 8: armed", "25%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}

	b = newBar(&out) // no terminal
	out.Reset()
	b.update(half)
	b.count(1, 2, "nothing")
	b.end()
	if out.Len() > 0 {
		t.Errorf("a bar where there is no terminal: %q", out.String())
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "100": 100, "100B": 100, "1k": 1024, "1KiB": 1024, "1kb": 1000, "512MiB": 512 << 20, "4GiB": 4 << 30, "1.5G": 3 << 29, "2 TB": 2e12} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "4 GiBs", "1e99", "GiB", "NaN", "1.2.3M"} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d", text, b)
		}
	}
}
