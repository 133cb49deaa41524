package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// heldTrace is a rank of a diffusion stage whose weights were there before: a prompt is
// encoded, steps allocate and free, the VAE needs most, and the host a little.
func heldTrace(before int64) *trace.Trace {
	t := trace.New()
	t.Meta.Rank = 0
	host := t.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1})
	total := before
	mem := func(us, device, addr, bytes int64) {
		if device > 0 {
			total += bytes
		}
		t.AddInstant(us*1000, trace.NameMemory, trace.CatCPUInstant, host,
			fmt.Appendf(nil, `{"Device Type": %d, "Device Id": %d, "Addr": %d, "Bytes": %d, "Total Allocated": %d}`,
				device, device-1, addr, bytes, max(total*device, bytes)))
	}
	region := func(name string, us, dur int64) {
		t.AddSlice(trace.Slice{Start: us * 1000, Dur: dur * 1000, Name: name, Cat: trace.CatUserAnnotation,
			Track: host})
		t.AddSlice(trace.Slice{Start: (us + 5) * 1000, Dur: (dur - 6) * 1000, Name: "aten::conv2d <" + name + ">",
			Cat: trace.CatCPUOp, Track: host})
	}
	region(trace.NameTextEncode, 100, 50)
	mem(110, 1, 1, 3<<20)
	for i := range int64(6) {
		region(trace.NameDenoiseStep, 200+i*100, 90)
		mem(210+i*100, 1, 10+i, 8<<20)
		mem(250+i*100, 1, 20+i, 16<<20)
		mem(280+i*100, 1, 20+i, -(16 << 20))
	}
	region(trace.NameVAEDecode, 810, 100)
	mem(820, 1, 30, 40<<20)
	mem(850, 1, 1, -(3 << 20))
	mem(860, 1, 30, -(40 << 20))
	mem(900, 0, 1, 4096)
	t.Meta.WindowStart, t.Meta.WindowEnd = 0, 1_000_000
	return t
}

func heldSVG(t interface{ Fatal(...any) }, list ...Ranked[analysis.MemoryTimeline]) []byte {
	var b bytes.Buffer
	if err := HeldMemorySVG(&b, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// elements fails the test unless b is XML, and counts its elements by name.
func elements(t interface{ Fatalf(string, ...any) }, b []byte) map[string]int {
	n := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(b)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			n[e.Name.Local]++
		}
	}
}

func TestHeldMemorySVG(t *testing.T) {
	for name, before := range map[string]int64{"memory.svg": 10 << 20, "memory_cut.svg": 6 << 30} {
		m := analysis.HeldMemory(heldTrace(before), analysis.Options{})
		golden(t, name, heldSVG(t, Ranked[analysis.MemoryTimeline]{Label: "dit rank 0", Value: m}))
	}
	m := analysis.HeldMemory(heldTrace(1<<20), analysis.Options{})
	m.Devices[0].Peak.Op = "<script>&\x00\"'"
	m.Devices[0].Peak.ByOp[0].Op = strings.Repeat("<x>", 100)
	var list []Ranked[analysis.MemoryTimeline]
	for range 2 * maxPictures {
		list = append(list, Ranked[analysis.MemoryTimeline]{Label: "3", Value: m})
	}
	b := heldSVG(t, list...)
	if n := elements(t, b); n["script"] > 0 || n["x"] > 0 || n["circle"] != maxPictures {
		t.Errorf("elements %v", n)
	}
	if elements(t, heldSVG(t))["svg"] != 1 {
		t.Error("a picture of nothing is no picture")
	}
}

// TestHeldMemorySVGOfAnything draws what traces of any content give.
func TestHeldMemorySVGOfAnything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := trace.New()
		host := tr.AddTrack(trace.Track{})
		tr.AddSlice(trace.Slice{Start: 3, Dur: rapid.Int64Range(0, 1<<62).Draw(rt, "dur"), Name: trace.NamePrefill,
			Cat: trace.CatUserAnnotation, Track: host})
		for range rapid.IntRange(0, 20).Draw(rt, "events") {
			tr.AddInstant(rapid.OneOf(rapid.Int64Range(0, 9), rapid.Int64()).Draw(rt, "at"), trace.NameMemory,
				trace.CatCPUInstant, host, fmt.Appendf(nil,
					`{"Addr": %d, "Bytes": %d, "Total Allocated": %d, "Device Id": %d}`,
					rapid.IntRange(0, 3).Draw(rt, "addr"),
					rapid.OneOf(rapid.Int64Range(-9, 9), rapid.Int64()).Draw(rt, "bytes"),
					rapid.OneOf(rapid.Int64Range(-1, 99), rapid.Int64()).Draw(rt, "total"),
					rapid.IntRange(-1, 1).Draw(rt, "device")))
		}
		m := analysis.HeldMemory(tr, analysis.Options{})
		if n := elements(rt, heldSVG(rt, Ranked[analysis.MemoryTimeline]{Value: m})); n["circle"] != len(m.Devices) {
			rt.Errorf("%d devices, elements %v", len(m.Devices), n)
		}
	})
}
