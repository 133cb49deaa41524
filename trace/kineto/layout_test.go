package kineto

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
)

// withPad returns text as the scanner wants it: with zeros behind.
func withPad(text []byte) []byte { return append(bytes.Clone(text), make([]byte, pad)...) }

// freshScanner returns a scanner that has learned nothing.
func freshScanner() *scanner {
	o := Options{}.withDefaults()
	s := newScanner(&o, 0)
	s.res = new(result)
	return s
}

// meaning is an event with its texts and arguments spelled out.
type meaning struct {
	Name, Cat, Pid, Tid, Args string
	PidN, TidN, TS, Dur       int64
	ID                        uint64
	Hot                       hotValues
	From, To                  int
	Ph                        byte
	Flags                     [6]bool
}

// mean spells out s.ev.
func mean(s *scanner) meaning {
	e := &s.ev
	text := func(id uint32) string { return s.texts.list[id].raw }
	m := meaning{
		Name: text(e.name), Cat: text(e.cat), TS: e.ts, Dur: e.dur, ID: e.id, Hot: e.hot, From: e.argsFrom,
		To: e.argsTo,
		Ph: e.ph, Flags: [6]bool{e.hasTS, e.hasDur, e.badDur, e.textTime, e.textID, e.badArgs},
	}
	if m.PidN = e.pid.n; e.pid.text {
		m.Pid, m.PidN = text(uint32(e.pid.n)), -1
	}
	if m.TidN = e.tid.n; e.tid.text {
		m.Tid, m.TidN = text(uint32(e.tid.n)), -1
	}
	if id := e.args >> argsShift; id != 0 && id != packedID {
		t := trace.New()
		at := t.AddArgsTemplate(s.tmpl.list[id-1].lit)
		off := uint64(0)
		if len(s.tmpl.list[id-1].segs) > 1 {
			off = t.AddArgsValues(s.res.vals[e.args&(1<<argsShift-1):])
		}
		m.Args = string(t.Args(trace.MakeArgsRef(at, off)))
	}
	return m
}

// sameAsSlowly reads every event that may begin in text with one scanner that learns as
// it goes, and with one that reads all slowly.
func sameAsSlowly(t *testing.T, text []byte) (fitted int) {
	b, end := withPad(text), len(text)
	s, plain := freshScanner(), freshScanner()
	for i := 0; i < end; i++ {
		if b[i] != '{' {
			continue
		}
		wantNext, wantSt := plain.slowly(b, i, end)
		next, st := s.event(b, i, end)
		if st != wantSt || st == stOK && next != wantNext {
			t.Fatalf("at %d: ended at %d with %d, want %d with %d: %.80q", i, next, st, wantNext, wantSt, b[i:end])
		}
		if st != stOK {
			continue
		}
		if s.layouts.missed == 0 {
			fitted++
		}
		got, want := mean(s), mean(plain)
		if got.Args != "" && got.Args != string(b[got.From:got.To]) {
			t.Fatalf("at %d: arguments %s, want %s", i, got.Args, b[got.From:got.To])
		}
		if got.Args, want.Args = "", ""; got != want {
			t.Fatalf("at %d: (-slowly +learned)\n%s", i, cmp.Diff(want, got))
		}
		i = next - 1
	}
	return fitted
}

// TestLayoutsChangeNothing reads all samples, whole and with single bytes changed.
func TestLayoutsChangeNothing(t *testing.T) {
	for name, text := range samples(t) {
		t.Run(name, func(t *testing.T) {
			fitted := sameAsSlowly(t, text)
			if n := bytes.Count(text, []byte(`"ph"`)); n > 200 && fitted < n/2 {
				t.Errorf("%d of %d events fitted a layout", fitted, n)
			}
			damaged := 4 << 10 // bytes of the text that are changed one by one
			if testing.Short() {
				damaged = 256
			}
			text = text[:min(len(text), damaged)]
			for i := range len(text) {
				for _, c := range []byte(`"\ {0`) {
					if i%13 != int(c)%13 {
						continue
					}
					bad := slices.Clone(text)
					bad[i] = c
					sameAsSlowly(t, bad)
				}
			}
		})
	}
}

// TestLayoutsStay: a layout that was not seen for a while is found again and learned no second time, and pids and tids
// that are texts take turns.
func TestLayoutsStay(t *testing.T) {
	const kinds, n = layoutTries + 8, 20_000
	r := rand.New(rand.NewPCG(5, 6))
	var text []byte
	for i := range n {
		k := r.IntN(kinds)
		text = fmt.Appendf(text, `{"ph": "X", "cat": "c%d", "name": "n%d", "pid": "%d", "tid": "stream %d", "ts": %d, "dur": 1},`,
			k, i%3, k%2, r.IntN(3), i)
	}
	sameAsSlowly(t, text)
	s, b := freshScanner(), withPad(text)
	for i := 0; i < len(text); i++ {
		next, st := s.event(b, i, len(text))
		if st != stOK {
			t.Fatalf("at %d: status %d", i, st)
		}
		i = next
	}
	if got := len(s.layouts.list); got != kinds {
		t.Errorf("%d layouts of %d kinds of events", got, kinds)
	}
}

func FuzzLayouts(f *testing.F) {
	f.Add([]byte(`{"ph":"X","cat":"cpu_op","name":"a","pid":7,"tid":7,"ts":1.5,"dur":2,"args":{"External id":123456}},
{"ph":"X","cat":"cpu_op","name":"a","pid":7,"tid":7,"ts":2.5,"dur":2,"args":{"External id":123457}},
{"ph":"X","cat":"cpu_op","name":"b","pid":7,"tid":70,"ts":3.5,"dur":2,"args":{"External id":1234578}}`))
	f.Add([]byte(`{"name":"x\"","id":"0x1","ph":"s","ts":"7","pid":"Spans","tid":"12"},{"name":"x\"","id":"0x2","ph":"s","ts":"8","pid":"Spans","tid":"12"}`))
	f.Fuzz(func(t *testing.T, text []byte) { sameAsSlowly(t, text) })
}
