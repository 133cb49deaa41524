package pprof

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/stacks"
	"github.com/kinetoscope/kinetoscope/trace/sums"
)

// Format is Meta.Format of profiles that were read.
const Format = "pprof"

// FormatError reports that a file is not a profile of pprof.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no profile of pprof: " + e.Reason }

// maxFile bounds a profile, unpacked, in bytes: those of programs have megabytes.
const maxFile = 512 << 20

// Fields of Profile and ValueType in profile.proto.
const (
	profileSampleType, profilePeriodType = 1, 11
	typeName, typeUnit                   = 1, 2
)

// fieldTypes are the types of the fields of Profile by number.
var fieldTypes = map[protowire.Number]protowire.Type{
	1: protowire.BytesType, 2: protowire.BytesType, 3: protowire.BytesType, 4: protowire.BytesType,
	5: protowire.BytesType, 6: protowire.BytesType, 7: protowire.VarintType, 8: protowire.VarintType,
	9: protowire.VarintType, 10: protowire.VarintType, 11: protowire.BytesType, 12: protowire.VarintType,
	13: protowire.BytesType, 14: protowire.VarintType, 15: protowire.VarintType,
}

// Sniff reports whether head, unpacked, begins a profile: all fields are those of Profile, and
// some that say the types of values, two numbers of texts each, come before those that are longer.
func Sniff(head []byte) bool {
	types := 0
	for len(head) > 0 {
		num, typ, n := protowire.ConsumeTag(head)
		if want, ok := fieldTypes[num]; n < 0 || !ok || typ != want {
			return false
		}
		size := protowire.ConsumeFieldValue(num, typ, head[n:])
		switch {
		case num == profileSampleType || num == profilePeriodType:
			value, size := protowire.ConsumeBytes(head[n:])
			if size < 0 || !valueType(value) {
				return false
			}
			types++
		case typ == protowire.BytesType || size < 0:
			return types > 0
		}
		head = head[n+size:]
	}
	return types > 0
}

// valueType reports whether b is a ValueType.
func valueType(b []byte) bool {
	has := false
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.VarintType || num != typeName && num != typeUnit {
			return false
		}
		_, size := protowire.ConsumeVarint(b[n:])
		if size < 0 {
			return false
		}
		has = has || num == typeName
		b = b[n+size:]
	}
	return has
}

// Read reads a profile of any program, unpacked. Its stacks become frames (package sums). The time
// is the value that Write calls "host", or else the last value with a unit of time; device time,
// counts and bytes are the values with Write's names or units. Samples with the same value of the
// label "rank", as Write gives them, are one track; other labels become arguments.
func Read(r io.Reader) (t *trace.Trace, err error) {
	defer func() { // the parser is not made for hostile files and may panic
		if p := recover(); p != nil {
			t, err = nil, &FormatError{Reason: fmt.Sprintf("damaged: %v", p)}
		}
	}()
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	switch {
	case len(b) > maxFile:
		return nil, &FormatError{Reason: fmt.Sprintf("over %d MiB", maxFile>>20)}
	case !Sniff(b):
		return nil, &FormatError{Reason: "it does not begin with the types of values"}
	}
	p, err := profile.ParseUncompressed(b)
	if err == nil {
		err = p.CheckValid()
	}
	if err != nil {
		return nil, &FormatError{Reason: "damaged, or cut short: " + err.Error()}
	}
	return fromProfile(p)
}

// columns are the places of the values that are read; -1 if there is none.
type columns struct {
	calls, host, device, alloc int
	scale                      int64 // of host, ns
}

// timeUnits are pprof's names of units of time, in ns.
var timeUnits = map[string]int64{
	"nanoseconds": 1, "ns": 1, "microseconds": 1e3, "us": 1e3, "milliseconds": 1e6, "ms": 1e6, "seconds": 1e9, "s": 1e9,
}

func columnsOf(p *profile.Profile) columns {
	c := columns{calls: -1, host: -1, device: -1, alloc: -1, scale: 1}
	for i, t := range p.SampleType {
		scale, time := timeUnits[t.Unit]
		switch {
		case t.Type == "device" && time && scale == 1:
			c.device = i
		case time && (c.host < 0 || p.SampleType[c.host].Type != "host"):
			c.host, c.scale = i, scale
		case t.Unit == "count" && c.calls < 0:
			c.calls = i
		case t.Unit == "bytes" && (c.alloc < 0 || t.Type == "alloc" || t.Type == "alloc_space"):
			c.alloc = i
		}
	}
	return c
}

func fromProfile(p *profile.Profile) (*trace.Trace, error) {
	c := columnsOf(p)
	name := "pprof"
	if len(p.Mapping) > 0 && p.Mapping[0].File != "" {
		name = p.Mapping[0].File[strings.LastIndexAny(p.Mapping[0].File, `/\`)+1:]
	}
	roots := map[string]*tree{}
	deep := 0
	for _, s := range p.Sample {
		frames := framesOf(s)
		if len(frames) > stacks.MaxFrames {
			frames, deep = frames[:stacks.MaxFrames], deep+1
		}
		lane := "stacks"
		if r := s.Label["rank"]; len(r) == 1 {
			lane = r[0]
		}
		root := roots[lane]
		if root == nil {
			root = newTree("")
			roots[lane] = root
		}
		at := root
		for _, f := range slices.Backward(frames) {
			at = at.child(f)
		}
		if err := at.add(p, s, c); err != nil {
			return nil, err
		}
	}
	b := sums.New(Format, name)
	for _, lane := range slices.Sorted(maps.Keys(roots)) {
		for _, n := range roots[lane].node.Children {
			if err := b.Add(lane, n); err != nil {
				return nil, &FormatError{Reason: err.Error()}
			}
		}
	}
	t := b.Done()
	if t.Slices.Len() == 0 {
		return nil, &FormatError{Reason: "it has no samples"}
	}
	t.Repairs.Add(RepairDeep, deep)
	return t, nil
}

// RepairDeep counts stacks that were cut.
const RepairDeep = "stack cut: too deep"

// framesOf returns the frames of a sample, innermost first.
func framesOf(s *profile.Sample) []string {
	var out []string
	for _, l := range s.Location {
		if len(l.Line) == 0 {
			out = append(out, fmt.Sprintf("%#x", l.Address))
		}
		for _, line := range l.Line {
			out = append(out, frameName(line))
		}
	}
	return out
}

// frameName is the text of a frame: the slice's name where Write made the profile, else the
// function's name.
func frameName(line profile.Line) string {
	f := line.Function
	if f == nil {
		return "?"
	}
	if strings.HasSuffix(f.SystemName, "): "+f.Name) { // a Python frame as Write has it
		return f.SystemName
	}
	return cmp.Or(f.Name, f.SystemName, "?")
}

// tree is a node with its children by name.
type tree struct {
	node *sums.Node
	by   map[string]*tree
}

func newTree(name string) *tree { return &tree{node: &sums.Node{Name: name}, by: map[string]*tree{}} }

func (t *tree) child(name string) *tree {
	c := t.by[name]
	if c == nil {
		c = newTree(name)
		t.by[name] = c
		t.node.Children = append(t.node.Children, c.node)
	}
	return c
}

// add adds a sample to the context it was taken in.
func (t *tree) add(p *profile.Profile, s *profile.Sample, c columns) error {
	value := func(i int) int64 {
		if i < 0 || i >= len(s.Value) {
			return 0
		}
		return s.Value[i]
	}
	n := t.node
	host := value(c.host)
	if host > maxTime/c.scale || value(c.device) > maxTime || n.HostNs > maxTime || n.DeviceNs > maxTime {
		return &FormatError{Reason: fmt.Sprintf("%q: a time out of range", n.Name)}
	}
	// A frame that has device time and none on the host is work on a device, not an operator of no length.
	n.Timed = n.Timed || c.host >= 0 && (host != 0 || value(c.device) == 0)
	n.HostNs += host * c.scale
	n.DeviceNs += value(c.device)
	n.Calls += value(c.calls)
	n.AllocBytes += value(c.alloc)
	var o trace.ArgsObject
	for i, k := range p.SampleType {
		if v := value(i); v != 0 && i != c.host && i != c.device && i != c.calls {
			o.Int(k.Type+" ("+k.Unit+")", v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.Label)) {
		if k != "rank" {
			o.Text(k, strings.Join(s.Label[k], ", "))
		}
	}
	if args := o.Done(); n.Args == nil && !bytes.Equal(args, nil) {
		n.Args = args // of several samples the first's
	}
	return nil
}

// maxTime bounds the sum of a context, ns.
const maxTime = int64(1) << 60
