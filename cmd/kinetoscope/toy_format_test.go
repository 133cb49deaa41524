package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

const toyMagic = "toy trace\n"

// A toy format: a line for each slice with its start and duration in µs and its name.
func init() {
	format.Register(format.Format{
		Name: "toy", Title: "toy trace", Extensions: []string{".toy"}, Rank: 3,
		Sniff: func(head []byte) bool { return bytes.HasPrefix(head, []byte(toyMagic)) },
		Read:  readToy,
	})
}

func readToy(_ context.Context, in format.Input, _ format.Options) ([]*trace.Trace, error) {
	u, err := unpack.New(in.R)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	t := trace.New()
	t.Meta.File, t.Meta.Format = in.Name, "toy"
	track := t.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1, Process: "toy"})
	lines := bufio.NewScanner(u)
	for n := 1; lines.Scan(); n++ {
		if n == 1 {
			continue // the mark
		}
		var start, dur int64
		var name string
		if _, err := fmt.Sscan(strings.TrimSpace(lines.Text()), &start, &dur, &name); err != nil {
			return nil, &kineto.FormatError{File: in.Name, Want: fmt.Sprintf("start, duration and name in line %d", n),
				Got: lines.Text()}
		}
		t.AddSlice(trace.Slice{Start: start * 1000, Dur: dur * 1000, Name: name, Cat: trace.CatCPUOp, Track: track})
	}
	t.Window()
	return []*trace.Trace{t}, lines.Err()
}
