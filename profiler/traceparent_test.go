package profiler

import (
	"strings"
	"testing"
)

func TestTraceParent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		in string
		ok bool
	}{
		{good, true},
		{strings.Replace(good, "-01", "-00", 1), true},
		{"01" + good[2:] + "-future", true},
		{"01" + good[2:], true},
		{good + "-x", false},
		{"01" + good[2:] + "x", false},
		{"ff" + good[2:], false},
		{strings.ToUpper(good), false},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
		{"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
		{"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", false},
		{good[:54], false},
		{"", false},
	} {
		p, err := ParseTraceParent(c.in)
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.in, err)
		}
		if err == nil && p.String()[2:] != c.in[2:traceParentLen] {
			t.Errorf("%q comes back as %q", c.in, p)
		}
	}
	p, _ := ParseTraceParent(good)
	if !p.Sampled() || p.FlowID() != 0xb7ad6b7169203331 || p.RequestID() != 0x8448eb211c80319c {
		t.Errorf("%+v", p)
	}
	q := p.Child()
	if q.TraceID != p.TraceID || q.SpanID == p.SpanID || q.Flags != p.Flags {
		t.Errorf("child %v of %v", q, p)
	}
	if p.TraceHex() != good[3:35] {
		t.Errorf("trace id %s of %s", p.TraceHex(), good)
	}
	if p, err := ParseTraceParent(good[:53] + "ff"); err != nil || p.Child().Flags != FlagSampled|FlagRandom {
		t.Errorf("child of %v has flags that nobody knows", p)
	}
	if n := NewTraceParent(false); n.Sampled() || n.Validate() != nil {
		t.Errorf("%+v", n)
	}
}

func FuzzTraceParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseTraceParent(s)
		if err != nil {
			return
		}
		if q, err := ParseTraceParent(p.String()); err != nil || q != p {
			t.Errorf("%q: %v, %v", s, q, err)
		}
	})
}
