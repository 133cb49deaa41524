package proton

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/sums"
)

// Format is Meta.Format of hatchet files.
const Format = "hatchet"

// FormatError reports that a file is not a hatchet file of Proton's.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no hatchet file of Proton: " + e.Reason }

// Limits of what is read.
const (
	// maxFile bounds a file, bytes; files are megabytes, for equal stacks are one node.
	maxFile = 1 << 30
	// maxDepth bounds the nesting of values; a frame is two levels of it. Python itself
	// stops at 1000 frames.
	maxDepth = 8192
	// maxValues bounds the values of a file, each of which takes some 50 bytes.
	maxValues = 1 << 25
)

// The metrics that are more than arguments.
const (
	deviceTime = "time (ns)"
	hostTime   = "cpu_time (ns)"
	count      = "count"
	deviceID   = "device_id"
)

// Sniff reports whether head begins a hatchet file: a list whose first element has frames
// with names.
func Sniff(head []byte) bool {
	if len(head) > 2 && head[0]&0xf0 == msgpcode.FixedArrayLow && head[1]&0xf0 == msgpcode.FixedMapLow {
		return bytes.HasPrefix(head[2:], []byte("\xa5frame"))
	}
	text := bytes.TrimLeft(head, " \t\r\n")
	if !bytes.HasPrefix(text, []byte("[")) || !bytes.Contains(text, []byte(`"frame"`)) {
		return false
	}
	text = bytes.TrimLeft(text[1:], " \t\r\n")
	return bytes.HasPrefix(text, []byte(`{"children"`)) || bytes.HasPrefix(text, []byte(`{"frame"`)) ||
		bytes.HasPrefix(text, []byte(`{"metrics"`)) ||
		bytes.HasPrefix(text, []byte(`{`)) && bytes.Contains(text, []byte(`"metrics"`)) &&
			bytes.Contains(text, []byte(`"children"`))
}

// Read reads a hatchet file, JSON or MessagePack.
func Read(r io.Reader) (*trace.Trace, error) {
	b := bufio.NewReader(io.LimitReader(r, maxFile+1))
	first, err := b.Peek(1)
	if err != nil {
		return nil, &FormatError{Reason: "it is empty"}
	}
	var v any
	if first[0]&0xf0 == msgpcode.FixedArrayLow {
		u := &unpacker{d: msgpack.NewDecoder(b)}
		v, err = u.value(0)
	} else {
		d := json.NewDecoder(b) // bounds the nesting itself
		d.UseNumber()
		err = d.Decode(&v)
	}
	if err != nil {
		return nil, &FormatError{Reason: "damaged: " + err.Error()}
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, &FormatError{Reason: "it is no list of a tree and devices"}
	}
	return build(list)
}

// unpacker reads MessagePack as JSON's values: map[string]any, []any, string, number.
type unpacker struct {
	d *msgpack.Decoder
	n int
}

func (u *unpacker) value(depth int) (any, error) {
	if u.n++; u.n > maxValues {
		return nil, fmt.Errorf("more than %d values", maxValues)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	code, err := u.d.PeekCode()
	if err != nil {
		return nil, err
	}
	switch {
	case msgpcode.IsFixedMap(code), code == msgpcode.Map16, code == msgpcode.Map32:
		n, err := u.d.DecodeMapLen()
		if err != nil {
			return nil, err
		}
		out := map[string]any{}
		for range n {
			key, err := u.d.DecodeString()
			if err != nil {
				return nil, err
			}
			if out[key], err = u.value(depth + 1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case msgpcode.IsFixedArray(code), code == msgpcode.Array16, code == msgpcode.Array32:
		n, err := u.d.DecodeArrayLen()
		if err != nil {
			return nil, err
		}
		var out []any
		for range n {
			v, err := u.value(depth + 1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case msgpcode.IsExt(code), msgpcode.IsBin(code):
		return nil, errors.New("a binary value")
	}
	return u.scalar()
}

func (u *unpacker) scalar() (any, error) {
	v, err := u.d.DecodeInterfaceLoose()
	if err != nil {
		return nil, err
	}
	switch n := v.(type) {
	case int64:
		return json.Number(strconv.FormatInt(n, 10)), nil
	case uint64:
		return json.Number(strconv.FormatUint(n, 10)), nil
	case float64:
		return json.Number(strconv.FormatFloat(n, 'g', -1, 64)), nil
	}
	return v, nil
}

// build makes a trace of a file's list: trees, and devices.
func build(list []any) (*trace.Trace, error) {
	b := sums.New(Format, "Proton")
	var devices []trace.Device
	trees := 0
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, &FormatError{Reason: "an element that is no object"}
		}
		if _, ok := m["frame"]; !ok {
			devices = append(devices, devicesOf(m)...)
			continue
		}
		n, err := node(m, 0)
		if err != nil {
			return nil, err
		}
		trees++
		for _, c := range n.Children { // the root is the file
			if err := b.Add("scopes", c); err != nil {
				return nil, &FormatError{Reason: err.Error()}
			}
		}
	}
	if trees == 0 {
		return nil, &FormatError{Reason: "no frames"}
	}
	t := b.Done()
	t.Meta.Devices = devices
	return t, nil
}

func node(m map[string]any, depth int) (*sums.Node, error) {
	frame, _ := m["frame"].(map[string]any)
	name, ok := frame["name"].(string)
	if !ok || depth > maxDepth {
		return nil, &FormatError{Reason: "a frame without a name, or nested too deep"}
	}
	metrics, _ := m["metrics"].(map[string]any)
	n := &sums.Node{Name: name, Args: args(metrics)}
	if ns, ok := integer(metrics[hostTime]); ok {
		n.HostNs, n.Timed = ns, true
	}
	n.DeviceNs, _ = integer(metrics[deviceTime])
	n.Calls, _ = integer(metrics[count])
	n.Device, _ = integer(metrics[deviceID])
	children, _ := m["children"].([]any)
	for _, c := range children {
		inner, ok := c.(map[string]any)
		if !ok {
			return nil, &FormatError{Reason: "a child that is no frame"}
		}
		k, err := node(inner, depth+1)
		if err != nil {
			return nil, err
		}
		n.Children = append(n.Children, k)
	}
	return n, nil
}

// integer reads a number, which may be text or have a fraction; out of range it is -1,
// which package sums refuses.
func integer(v any) (int64, bool) {
	text := ""
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		return 0, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) {
		return 0, false
	}
	if math.Abs(f) > 1<<62 {
		return -1, true
	}
	return int64(math.Round(f)), true
}

// args are the metrics as arguments, sorted by name.
func args(metrics map[string]any) []byte {
	var o trace.ArgsObject
	for _, k := range slices.Sorted(maps.Keys(metrics)) {
		switch v := metrics[k].(type) {
		case json.Number:
			if f, err := v.Float64(); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
				o.Raw(k, []byte(number(v.String(), f)))
			}
		case string:
			o.Text(k, v)
		case []any:
			if text, err := json.Marshal(v); err == nil {
				o.Raw(k, text)
			}
		}
	}
	return o.Done()
}

// number is a number as JSON has it: MessagePack's floats are written anew.
func number(text string, f float64) string {
	if json.Valid([]byte(text)) {
		return text
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// devicesOf reads the properties of devices by kind and number.
func devicesOf(m map[string]any) []trace.Device {
	var out []trace.Device
	for _, kind := range slices.Sorted(maps.Keys(m)) {
		byID, _ := m[kind].(map[string]any)
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			props, _ := byID[id].(map[string]any)
			n, err := strconv.Atoi(id)
			if props == nil || err != nil || n < 0 {
				continue
			}
			d := trace.Device{ID: n, Name: kind}
			if arch, ok := props["arch"].(string); ok {
				d.Name = strings.TrimSpace(kind + " " + arch)
			}
			sms, _ := integer(props["num_sms"])
			d.SMs = int(min(max(0, sms), math.MaxInt32))
			out = append(out, d)
		}
	}
	return out
}
