package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

const toyMagic = "toy trace\n"

// A toy format: a line for each slice with its start and duration in µs and its name. One that is only read
// leaves out Create and what belongs to it, one that is only written leaves out Sniff and Read.
func init() {
	format.Register(format.Format{
		Name: "toy", Title: "toy trace", Extensions: []string{".toy"}, Rank: 3,
		Sniff: func(head []byte) bool { return bytes.HasPrefix(head, []byte(toyMagic)) },
		Read:  readToy,
		Create: func(w io.Writer, _ format.WriteOptions) format.Writer {
			_, err := io.WriteString(w, toyMagic)
			return &toyWriter{w, err}
		},
		Keeps: format.Parts{Times: true, Names: true},
		Lacks: "tracks, arguments, blanks in names; of several ranks, whose a slice is",
	})
}

type toyWriter struct {
	w   io.Writer
	err error
}

// Add writes one rank, on the file's clock.
func (t *toyWriter) Add(ctx context.Context, r format.Rank) error {
	s := &r.Trace.Slices
	for i := 0; i < s.Len() && t.err == nil; i++ {
		at := s.Start[i]
		if r.Clock != nil {
			at = r.Clock(at)
		}
		_, t.err = fmt.Fprintln(t.w, at/1000, s.Dur[i]/1000, strings.ReplaceAll(r.Trace.String(s.Name[i]), " ", "_"))
	}
	return errors.Join(t.err, ctx.Err())
}

func (t *toyWriter) Close(context.Context) error { return t.err }

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
