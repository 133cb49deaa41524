package steps

import "testing"

// TestStatsSums: what the statistics of a kind of step sum, and over which steps.
func TestStatsSums(t *testing.T) {
	list := []Step{
		{Kind: Decode, Tokens: 3, StartNs: 0, EndNs: 10, AtNs: 0, SpanNs: 100, BusyNs: 60, HostIdleNs: 20,
			Batch: 2},
		{Kind: Prefill, Tokens: 500, StartNs: 100, EndNs: 130, AtNs: 100, SpanNs: 300, BusyNs: 300, Batch: 1},
		{Kind: Decode, Tokens: 5, StartNs: 400, EndNs: 420, AtNs: 400, SpanNs: 200, BusyNs: 90, HostIdleNs: 40,
			Batch: 4},
		{Kind: Decode, Tokens: 7, StartNs: 600, EndNs: 640, AtNs: 600, SpanNs: 200, MissingLaunches: 1, Batch: 6},
	}
	var decode, prefill *Stats
	all := stats(list)
	for i := range all {
		switch all[i].Kind {
		case Decode:
			decode = &all[i]
		case Prefill:
			prefill = &all[i]
		}
	}
	if decode == nil || prefill == nil {
		t.Fatalf("kinds: %+v", all)
	}
	if decode.Count != 3 || decode.Tokens != 15 || decode.Whole != 2 || decode.Batch != 4 {
		t.Errorf("decode: %+v", decode)
	}
	if decode.BusyShare != 0.5 || decode.HostIdleShare != 0.2 {
		t.Errorf("shares %g and %g of the whole steps, want 0.5 and 0.2", decode.BusyShare, decode.HostIdleShare)
	}
	if prefill.Count != 1 || prefill.Tokens != 500 || prefill.BusyShare != 1 || prefill.Worst != 1 {
		t.Errorf("prefill: %+v", prefill)
	}
}

// TestStatsWithoutTime: of steps without a length the first one of a kind is the longest.
func TestStatsWithoutTime(t *testing.T) {
	all := stats([]Step{{Kind: Decode, StartNs: 5, EndNs: 5}, {Kind: Prefill, StartNs: 7, EndNs: 7}})
	for i := range all {
		if want := map[Kind]int{Decode: 0, Prefill: 1}[all[i].Kind]; all[i].Worst != want {
			t.Errorf("%v: the longest is step %d, want %d", all[i].Kind, all[i].Worst, want)
		}
	}
}

// TestBounds: at the thresholds a verdict holds, just below them it does not.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		span, busy, host int64
		want             Bound
	}{
		{0, 0, 0, BoundNone},
		{100, 85, 15, BoundDevice},
		{100, 84, 16, BoundHost},
		{100, 84, 14, BoundOther}, // the host has nearly all that is idle, which is little
		{100, 70, 15, BoundHost},  // half of what is idle, and enough
		{1000, 700, 149, BoundOther},
		{100, 20, 39, BoundOther}, // much, but less than half of what is idle
		{100, 20, 40, BoundHost},
	} {
		if got := bound(c.span, c.busy, c.host); got != c.want {
			t.Errorf("span %d, busy %d, host %d: %v, want %v", c.span, c.busy, c.host, got, c.want)
		}
	}
}
