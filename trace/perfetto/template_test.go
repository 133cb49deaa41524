package perfetto

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestShapes: arguments that are encoded by their template are what reading their text gives.
func TestShapes(t *testing.T) {
	values := []string{
		`12345`, `1`, `-12345`, `1234.5`, `1e12345`, `"text"`, `"0x7f12ab34"`, `"a 123456 b"`,
		`null`, `true`, `{}`, `[]`,
		`[12345, "é\"\\", [1, 23456]]`, `{"a": {"b": [123456]}, "c 12345": 1}`, ` 12345 `, `0`, `01234`,
		`[[[[[[[[[[123456]]]]]]]]]]`, `99999999999999999999`,
	}
	keys := []string{`"a"`, `"External id"`, `"k 123456"`, `"é\n"`, `"a"`}
	rapid.Check(t, func(rt *rapid.T) {
		var raw bytes.Buffer
		raw.WriteString("{")
		for i := range rapid.IntRange(1, 5).Draw(rt, "members") {
			if i > 0 {
				raw.WriteString(rapid.SampledFrom([]string{",", ", ", " ,\n"}).Draw(rt, "comma"))
			}
			fmt.Fprintf(&raw, "%s: %s",
				rapid.SampledFrom(keys).Draw(rt, "key"), rapid.SampledFrom(values).Draw(rt, "value"))
		}
		raw.WriteString(rapid.SampledFrom([]string{"}", "} ", "", "}x", ",}"}).Draw(rt, "end"))
		same(rt, raw.Bytes())
	})
}

// same compares the annotations of raw, made several times from one trace, with those of its text.
func same(t rapid.TB, raw []byte) {
	tr := trace.New()
	sameAs(t, tr, tr.AddArgs(raw))
}

func sameAs(t rapid.TB, tr *trace.Trace, ref trace.ArgsRef) {
	raw := tr.Args(ref)
	p, q := NewWriter(io.Discard, 0), NewWriter(io.Discard, 0)
	r := &rankTracks{p: p, t: tr}
	for range 4 {
		p.event, q.event, p.interned, q.interned = nil, nil, nil, nil
		r.arguments(ref)
		q.annotations(tr.Args(ref))
		if !bytes.Equal(p.event, q.event) {
			t.Fatalf("%s:\n% x\nwant\n% x", raw, p.event, q.event)
		}
	}
}

// TestTextHoles: the same of a template that has holes in place of texts.
func TestTextHoles(t *testing.T) {
	tr := trace.New()
	template := tr.AddArgsTemplate([]byte("{\"a\": \"\xFD\", \"id\": \xFF, \"b\": [\"\xFD\", \xFF, \"x\"], \"c\": \"\xFD\"}"))
	var refs []trace.ArgsRef
	for i := range 20 {
		var v []byte
		text := func(s string) { v = append(binary.AppendUvarint(v, uint64(len(s))), s...) }
		text(strings.Repeat("é", i))
		v = binary.AppendUvarint(v, uint64(i))
		text("a 12345")
		v = binary.AppendUvarint(v, uint64(i)<<20)
		text("")
		refs = append(refs, trace.MakeArgsRef(template, tr.AddArgsValues(v)))
	}
	for i, ref := range refs {
		want := fmt.Sprintf(`{"a": "%s", "id": %d, "b": ["a 12345", %d, "x"], "c": ""}`, strings.Repeat("é", i), i, i<<20)
		if got := string(tr.Args(ref)); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		sameAs(t, tr, ref)
	}
}

// TestMemo: values that were encoded before, and others of the same template, give what reading their text gives.
func TestMemo(t *testing.T) {
	tr := trace.New()
	p, q := NewWriter(io.Discard, 0), NewWriter(io.Discard, 0)
	r := &rankTracks{p: p, t: tr}
	long := strings.Repeat("[12345,", 200) + "1" + strings.Repeat("]", 200)
	for i := range 3 * memoEntries {
		ref := tr.AddArgs(fmt.Appendf(nil, `{"grid": [%d, 1, 1], "shape": [[%d, 64], [%d]], "long": %s}`,
			1000+i%700, 2000+i/7, 3000+i%3, long))
		p.event, q.event, p.interned, q.interned = p.event[:0], q.event[:0], nil, nil
		r.arguments(ref)
		q.annotations(tr.Args(ref))
		if !bytes.Equal(p.event, q.event) {
			t.Fatalf("object %d: % x\nwant % x", i, p.event, q.event)
		}
	}
	if tr.ArgsTemplates() > 2 {
		t.Fatalf("%d templates: nothing was remembered", tr.ArgsTemplates())
	}
}

// BenchmarkArguments encodes the arguments of an operator.
func BenchmarkArguments(b *testing.B) {
	tr := trace.New()
	ref := tr.AddArgs([]byte(`{"External id": 51234, "Record function id": 0, "Concrete Inputs": ["", ""], ` +
		`"Input type": ["float", "float"], "Input Strides": [[4096, 1], [1, 4096]], ` +
		`"Input Dims": [[8, 4096], [4096, 4096]], ` +
		`"Ev Idx": 1234, "Sequence number": 77}`))
	p := NewWriter(io.Discard, 0)
	r := &rankTracks{p: p, t: tr}
	b.ReportAllocs()
	for b.Loop() {
		p.event = p.event[:0]
		r.arguments(ref)
	}
}
