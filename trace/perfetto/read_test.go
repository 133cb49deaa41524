package perfetto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

// rows are a trace's slices, instants and counter samples as comparable texts, sorted.
func rows(t interface{ Fatal(...any) }, tr *trace.Trace) []string {
	var out []string
	args := func(ref trace.ArgsRef) string {
		raw := tr.Args(ref)
		if len(raw) == 0 {
			return ""
		}
		var v any
		exact := json.NewDecoder(bytes.NewReader(raw))
		exact.UseNumber()
		if err := exact.Decode(&v); err != nil {
			t.Fatal("arguments", string(raw), err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	x := tr.Index()
	for i := range tr.Slices.Len() {
		s := &tr.Slices
		parent := ""
		if p := x.Parent[i]; p != trace.NoParent {
			parent = tr.String(s.Name[p])
		}
		out = append(out, fmt.Sprintf("slice %d %d %q %s in %q %q %d %s", s.Start[i], s.Dur[i], tr.String(s.Name[i]),
			tr.CategoryText(s.Cat[i]),
			parent, tr.Tracks[s.Track[i]].Name, s.Corr[i], args(s.Args[i])))
	}
	for i, ns := range tr.Instants.Time {
		out = append(out, fmt.Sprintf("instant %d %q %s", ns, tr.String(tr.Instants.Name[i]),
			args(tr.Instants.Args[i])))
	}
	for i, ns := range tr.Counters.Time {
		out = append(out, fmt.Sprintf("counter %d %g", ns, tr.Counters.Value[i]))
	}
	slices.Sort(out)
	return out
}

// What the Writer writes is read back with names, times, nesting and arguments.
func TestReadBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := trace.New()
		host := tr.AddTrack(trace.Track{Name: "main", Device: -1, Stream: -1})
		gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Name: "stream 7", Device: 2, Stream: 7})
		const base = 1_700_000_000_000_000_000
		for range rapid.IntRange(1, 25).Draw(rt, "slices") {
			track, cat, args := host, trace.CatCPUOp, ""
			corr := trace.NoCorrelation
			if rapid.Bool().Draw(rt, "device") {
				corr = rapid.Int64Range(1, 99).Draw(rt, "corr")
				track, cat, args = gpu, trace.CatKernel,
					fmt.Sprintf(`{"device": 2, "stream": 7, "correlation": %d, "grid": [1, [2, "x"], {"a": -5}], "f": 0.5}`, corr)
			}
			tr.AddSlice(trace.Slice{
				Start: base + rapid.Int64Range(0, 50).Draw(rt, "start"), Dur: rapid.Int64Range(1, 30).Draw(rt, "dur"),
				Name: rapid.SampledFrom([]string{"a", "b", "ä", ""}).Draw(rt, "name"), Cat: cat, Track: track,
				Corr: corr, Args: []byte(args),
			})
		}
		tr.AddInstant(base+3, "mark", trace.CatUserAnnotation, host, []byte(`{"k":true}`))
		tr.AddCounter(base+4, "queue", "value", host, 2.5)
		tr.AddFlow(base+5, 8, "ac2g", "ac2g", host, true)
		tr.AddFlow(base+500, 8, "ac2g", "ac2g", gpu, false) // in no slice
		var out bytes.Buffer
		write(rt, &out, RankOptions{Name: "stage0 thinker rank 1"}, tr)
		if !Sniff(out.Bytes()) {
			rt.Fatal("not known by its beginning")
		}
		got, err := Read(&out)
		if err != nil {
			rt.Fatal(err)
		}
		if err := got.Validate(); err != nil {
			rt.Fatal(err)
		}
		if got.Repairs.Total() != 0 || !got.Meta.WallClock {
			rt.Errorf("repairs %v, wall clock %v", got.Repairs.Count, got.Meta.WallClock)
		}
		want, have := rows(rt, tr), rows(rt, got)
		if !reflect.DeepEqual(want, have) {
			rt.Errorf("want\n%q\ngot\n%q", want, have)
		}
		if f := &got.Flows; len(f.Time) != 2 || !f.Start[0] || f.Start[1] || f.Time[1] != base+500 ||
			got.String(f.Name[1]) != "ac2g" {
			rt.Errorf("arrow %+v", *f)
		}
		for i := range got.Tracks {
			if k := &got.Tracks[i]; k.Kind == trace.TrackGPU && (k.Device != 2 || k.Stream != 7) ||
				k.Process != "stage0 thinker rank 1" {
				rt.Errorf("track %+v", *k)
			}
		}
	})
}

// packets builds a file by hand, as writers other than ours lay them out.
type packets struct{ b []byte }

func (p *packets) add(fields ...[]byte) {
	p.b = appendMessage(p.b, fieldTracePacket, slices.Concat(fields...))
}

func TestReadOtherWriters(t *testing.T) {
	var p packets
	clock := func(id, at uint64, more ...[]byte) []byte {
		return appendMessage(nil, fieldClocks,
			slices.Concat(append([][]byte{appendVarint(nil, fieldClockID, id), appendVarint(nil, fieldClockTime, at)},
				more...)...))
	}
	seq := appendVarint(nil, fieldSequenceID, 5)
	// Chrome's way: a clock of the sequence that counts microseconds since the last packet.
	p.add(seq, appendVarint(nil, fieldSequenceFlags, flagStateCleared),
		appendMessage(nil, fieldClockSnapshot, slices.Concat(clock(clockRealtime, 5_000_000_000),
			clock(clockBoottime, 1_000_000_000),
			clock(64, 0, appendVarint(nil, fieldClockIncremental, 1), appendVarint(nil, fieldClockUnit, 1000)))),
		appendMessage(nil, fieldPacketDefaults, slices.Concat(appendVarint(nil, fieldTimestampClock, 64),
			appendMessage(nil, fieldEventDefaults, appendVarint(nil, fieldEventTrackUUID, 77)))))
	p.add(seq, appendMessage(nil, fieldTrackDescriptor, slices.Concat(appendVarint(nil, fieldTrackUUID, 77),
		appendMessage(nil, fieldTrackThread, slices.Concat(appendVarint(nil, fieldThreadPID, 3),
			appendVarint(nil, fieldThreadTID, 4), appendText(nil, fieldThreadName, "io"))))))
	event := func(delta, kind uint64, more ...[]byte) {
		p.add(seq, appendVarint(nil, fieldTimestamp, delta), appendVarint(nil, fieldSequenceFlags, flagNeedsState),
			appendMessage(nil, fieldTrackEvent,
				slices.Concat(append([][]byte{appendVarint(nil, fieldEventType, kind)}, more...)...)))
	}
	event(10, typeSliceBegin, appendText(nil, fieldEventName, "outer"))
	event(5, typeSliceEnd, appendMessage(nil, fieldEventAnnotations,
		slices.Concat(appendText(nil, fieldAnnotationName, "n"), appendVarint(nil, fieldAnnotationUint, 1<<63))))
	event(1, 0, appendText(nil, fieldEventName, "legacy"), appendMessage(nil, fieldEventLegacy,
		slices.Concat(appendVarint(nil, fieldLegacyPhase, 'X'), appendVarint(nil, fieldLegacyDuration, 20))))
	event(1, typeSliceBegin, appendText(nil, fieldEventName, "never ends"))
	event(1, typeSliceBegin, appendVarint(nil, fieldEventNameIID, 9)) // of a packet that is not there
	p.add(seq, appendMessage(nil, 112, []byte{}))                     // another data source
	whole := slices.Clone(p.b)
	p.b = append(p.b, fieldTracePacket<<3|byte(protowire.BytesType), 50, 1, 2)

	tr, err := Read(bytes.NewReader(p.b))
	if err != nil {
		t.Fatal(err)
	}
	got := rows(t, tr)
	want := []string{
		`slice 5000010000 5000 "outer"  in "" "io" -1 {"n":9223372036854775808}`,
		`slice 5000016000 20000 "legacy"  in "" "io" -1 `,
		`slice 5000017000 19000 "never ends"  in "legacy" "io" -1 `,
		`slice 5000018000 18000 "name lost"  in "never ends" "io" -1 `,
	}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("row %d is %q, want %q", i, got[min(i, len(got)-1)], want[i])
		}
	}
	for kind, n := range map[string]int{trace.RepairUnmatchedBegin: 2, RepairLostState: 1, RepairOtherSource: 1,
		trace.RepairTruncatedFile: 1} {
		if tr.Repairs.Count[kind] != n {
			t.Errorf("%s: %d, want %d", kind, tr.Repairs.Count[kind], n)
		}
	}
	for n := range whole { // cut anywhere, it is an error or a trace
		if tr, err := Read(bytes.NewReader(whole[:n])); err == nil {
			if err := tr.Validate(); err != nil {
				t.Fatal(n, err)
			}
		}
	}
}

// A file that its writer or a copy did not finish has what came before its end, also where all of it is one packet of
// compressed ones.
func TestReadCut(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{Name: "main"})
	for i := range int64(3000) {
		tr.AddSlice(trace.Slice{Start: 1000 + i*1000, Dur: 900, Name: fmt.Sprintf("op%d", i*i%997), Cat: trace.CatCPUOp,
			Track: host})
	}
	var out bytes.Buffer
	p := NewCompressedWriter(&out, 1000, 1, Small)
	for _, seq := range p.AddRank(tr, RankOptions{Name: "x"}) {
		for e := range seq {
			p.Emit(e)
		}
	}
	if _, err := p.Close(); err != nil {
		t.Fatal(err)
	}
	least := 0
	for part := 1; part < 10; part++ {
		got, err := Read(bytes.NewReader(out.Bytes()[:out.Len()*part/10]))
		if err != nil || got.Slices.Len() < least || part > 4 && got.Slices.Len() < 3000*(part-2)/10 {
			t.Fatalf("%d tenths: %v, %v", part, got, err)
		}
		if got.Repairs.Count[trace.RepairTruncatedFile] != 1 {
			t.Errorf("%d tenths: not said to be cut: %v", part, got.Repairs)
		}
		least = got.Slices.Len()
	}
}

func TestReadRefuses(t *testing.T) {
	for _, in := range []string{"{}", "\x0a\xff\xff\xff\xff\x7f", "SQLite format 3"} {
		var format *FormatError
		if _, err := Read(bytes.NewReader([]byte(in))); !errors.As(err, &format) {
			t.Errorf("%q: %v", in, err)
		}
		if Sniff([]byte(in)) {
			t.Errorf("%q is taken for a trace", in)
		}
	}
}

func FuzzRead(f *testing.F) {
	var out bytes.Buffer
	write(f, &out, RankOptions{Name: "x"}, sample())
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if err := tr.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{Name: "main"})
	for i := range int64(100_000) {
		tr.AddSlice(trace.Slice{Start: 1_700_000_000_000_000_000 + i*1000, Dur: 900, Name: fmt.Sprintf("op%d", i%100),
			Cat: trace.CatCPUOp, Track: host,
			Args: fmt.Appendf(nil, `{"External id": %d, "Input Dims": [[2, 3], [3, 4]]}`, i)})
	}
	var out bytes.Buffer
	write(b, &out, RankOptions{Name: "x"}, tr)
	b.SetBytes(int64(out.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(out.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

// Compressed, the file holds the same packets, whatever the number of workers.
func TestCompressed(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{Name: "main", Device: -1, Stream: -1})
	for i := range int64(60_000) { // several blocks
		tr.AddSlice(trace.Slice{Start: 1_700_000_000_000_000_000 + i*1000, Dur: 900, Name: fmt.Sprintf("op%d", i%100),
			Cat: trace.CatCPUOp, Track: host,
			Corr: trace.NoCorrelation, Args: fmt.Appendf(nil, `{"External id": %d}`, i)})
	}
	pack := func(w io.Writer, workers int) error {
		p := NewWriter(w, tr.Slices.Start[0])
		if workers > 0 {
			p = NewCompressedWriter(w, tr.Slices.Start[0], workers, Fast)
		}
		for _, seq := range p.AddRank(tr, RankOptions{Name: "x"}) {
			for e := range seq {
				p.Emit(e)
			}
		}
		_, err := p.Close()
		return err
	}
	var plain, one, four bytes.Buffer
	if err := errors.Join(pack(&plain, 0), pack(&one, 1), pack(&four, 4)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), four.Bytes()) || one.Len()*4 > plain.Len() {
		t.Errorf("%d bytes with one worker, %d with four, %d plain", one.Len(), four.Len(), plain.Len())
	}
	a, err := Read(&plain)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Read(bytes.NewReader(one.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(rows(t, a), rows(t, b)) {
		t.Error("the packets differ")
	}
	if err := pack(failing{}, 2); err == nil {
		t.Error("no error of the writer")
	}
	// A compressed packet within another is not followed.
	inner := appendMessage(nil, fieldTracePacket, appendMessage(nil, fieldCompressedPackets, one.Bytes()[10:]))
	nested, err := Read(bytes.NewReader(new(packer).compress(inner).bytes))
	if err != nil || nested.Repairs.Total() == 0 {
		t.Errorf("%v, %v", nested, err)
	}
}
