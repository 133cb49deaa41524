// Package xla says what the rows of traces that JAX and TensorFlow write mean. XLA's
// profiler writes Chrome JSON without categories; what a row is comes from the names of
// its process and thread:
//
//	/host:CPU            threads of the host: calls of the program and of XLA's runtime
//	/device:GPU:0        Stream #16(Compute), Stream #17(MemcpyH2D): work of a GPU
//	/device:TPU:0        XLA Ops, Async XLA Ops: work of a TPU
//	                     Steps, XLA Modules, Framework Ops …: what the work belongs to
//
// A timeline of TensorFlow's sessions (RunMetadata) has a process for each of these:
//
//	/device:GPU:0/stream:13 Compute   work of one stream
//	/device:GPU:0/stream:all Compute  the same of all of them
//	/device:GPU:0/memcpy Compute      copies once more, by their ends
//	/job:…/device:GPU:0 Compute       the host, where it computes and launches operators
package xla

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Format is Meta.Format of the traces that this package is for.
const Format = "xla"

// Is tells by the names of its processes whether a trace is of XLA's profiler.
func Is(processes map[string]bool) bool {
	for name := range processes {
		if device.MatchString(name) || strings.HasPrefix(name, "/host:") || placed.MatchString(name) {
			return true
		}
	}
	return false
}

var (
	device = regexp.MustCompile(`^/device:(\w+):(\d+)`)
	// processes of a session's timeline
	session = regexp.MustCompile(`^/device:(\w+:\d+)/(?:stream:(all|\d+)|memcpy)`)
	placed  = regexp.MustCompile(`^/job:[^ ]*/device:\w+:\d+ Compute`)
	stream  = regexp.MustCompile(`^Stream #(\d+)\(?([^)]*)`)
	call    = regexp.MustCompile(`^(cu|cuda|hip)[A-Z]`)
)

// lane is what the rows of a track are.
type lane struct {
	cat  trace.Category
	name string // of the stream's kind: "MemcpyH2D"
	all  bool   // rows that say their category too: a session's timeline calls all of them Op
}

// Classify gives the slices of t their categories, lanes and correlations.
func Classify(t *trace.Trace) {
	lanes := make([]lane, len(t.Tracks))
	streams := map[string]bool{} // devices that have them
	for i := range t.Tracks {
		if stream.MatchString(t.Tracks[i].Name) {
			streams[t.Tracks[i].Process] = true
		}
		if f := session.FindStringSubmatch(t.Tracks[i].Process); f != nil && f[2] != "" && f[2] != "all" {
			streams[f[1]] = true
		}
	}
	for i := range t.Tracks {
		k := &t.Tracks[i]
		if f := session.FindStringSubmatch(k.Process); f != nil {
			lanes[i] = sessionLane(k, f[2], streams[f[1]])
			continue
		}
		lanes[i] = laneOf(k, streams[k.Process])
	}
	s := &t.Slices
	const correlation, step = 0, 1
	numbers := t.IntArgs("correlation_id", trace.ArgStepNumber)
	var v [step + 1]int64
	var has [step + 1]bool
	for i, id := range s.Track {
		l := lanes[id]
		had := s.Cat[i] // XLA writes none: what has one was written by another program
		if l.all {
			had = trace.CatOther
		}
		if had == trace.CatOther {
			s.Cat[i] = l.cat
		}
		name := t.String(s.Name[i])
		numbers.Read(s.Args[i], v[:], has[:])
		linked := has[correlation]
		if linked && v[correlation] > 0 {
			s.Corr[i] = v[correlation]
		}
		switch {
		case had != trace.CatOther:
		case l.cat == trace.CatCPUOp && has[step]:
			s.Cat[i] = trace.CatUserAnnotation
		case l.cat == trace.CatCPUOp && linked && call.MatchString(name):
			s.Cat[i] = trace.CatCUDADriver
		case l.cat == trace.CatKernel && isCopy(l.name, name):
			s.Cat[i] = trace.CatGPUMemcpy
		case l.cat == trace.CatKernel && strings.HasPrefix(strings.ToLower(name), "memset"):
			s.Cat[i] = trace.CatGPUMemset
		}
	}
}

// isCopy reports whether work is a copy by its stream's kind and its name.
func isCopy(stream, name string) bool {
	return strings.HasPrefix(stream, "Memcpy") && !strings.Contains(stream, "Compute") ||
		strings.HasPrefix(strings.ToLower(name), "memcpy")
}

// sessionLane tells what the rows of a process of a session's timeline are; streams says that each
// stream of the device has a process of its own.
func sessionLane(k *trace.Track, of string, streams bool) lane {
	if of == "" || of == "all" && streams {
		k.Kind = trace.TrackOther
		return lane{cat: trace.CatOther, all: true}
	}
	f := device.FindStringSubmatch(k.Process)
	k.Kind = trace.TrackGPU
	k.Device, _ = strconv.ParseInt(f[2], 10, 64) // the pattern has digits
	k.Stream, _ = strconv.ParseInt(of, 10, 64)   // all: 0
	if k.Name == "" {
		k.Name = "stream " + of
	}
	return lane{cat: trace.CatKernel, all: true}
}

// laneOf tells what a track's rows are. Where a device has streams, its other tracks show
// the same work once more, by what it belongs to.
func laneOf(k *trace.Track, streams bool) lane {
	f := device.FindStringSubmatch(k.Process)
	if f == nil {
		k.Kind = trace.TrackCPU
		return lane{cat: trace.CatCPUOp, all: placed.MatchString(k.Process)}
	}
	n, _ := strconv.ParseInt(f[2], 10, 64) // the pattern has digits
	if s := stream.FindStringSubmatch(k.Name); s != nil {
		k.Kind, k.Device = trace.TrackGPU, n
		k.Stream, _ = strconv.ParseInt(s[1], 10, 64)
		return lane{cat: trace.CatKernel, name: s[2]}
	}
	if f[1] == "CPU" {
		return lane{cat: trace.CatCPUOp}
	}
	if !streams && strings.HasSuffix(k.Name, "XLA Ops") {
		k.Kind, k.Device, k.Stream = trace.TrackGPU, n, k.TID
		return lane{cat: trace.CatKernel}
	}
	k.Kind = trace.TrackOther
	return lane{cat: trace.CatOther}
}
