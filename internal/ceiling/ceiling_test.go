package ceiling

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// TestWatch: who takes more and more is told to give up, and then that it ends, both before
// the amount is passed.
func TestWatch(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	limit := max(Least, resident()+128<<20)
	gaveUp, ended := make(chan *Error, 1), make(chan *Error, 1)
	c, err := Set(limit, func(e *Error) { gaveUp <- e }, func(e *Error) { ended <- e })
	if err != nil {
		t.Fatal(err)
	}
	var held [][]byte
	grow := func(until <-chan *Error) *Error {
		for {
			select {
			case e := <-until:
				return e
			case <-time.After(interval): // so that the watch looks at every piece
			}
			b := make([]byte, 2<<20)
			for i := range b {
				b[i] = 1
			}
			held = append(held, b)
			if len(held)<<21 > int(limit) {
				t.Fatalf("%d MiB are taken and nobody said anything", len(held)*2)
			}
		}
	}
	first := grow(gaveUp)
	last := grow(ended)
	c.Close()
	if first.Resident >= last.Resident || last.Resident > limit {
		t.Errorf("told at %d and %d of %d bytes", first.Resident, last.Resident, limit)
	}
	if s := last.Error(); !strings.Contains(s, "allow more") {
		t.Errorf("%q does not say what to do", s)
	}
	if now := debug.SetMemoryLimit(-1); now != before {
		t.Errorf("the collector's limit is %d afterwards, %d before", now, before)
	}
	held = nil
}

// TestShares: more memory is more for traces, more appetite less, and what an amount was
// computed for fits in it.
func TestShares(t *testing.T) {
	if _, err := Set(Least-1, nil, nil); err == nil {
		t.Error("less than the least is taken")
	}
	small, large := &Ceiling{limit: 1 << 30, base: 50 << 20}, &Ceiling{limit: 4 << 30, base: 50 << 20}
	if a, b := small.Traces(2, 1), large.Traces(2, 1); a >= b {
		t.Errorf("%d of 1 GiB, %d of 4", a, b)
	}
	if a, b := small.Traces(2, 1), small.Traces(2, 5); a <= b {
		t.Errorf("%d beside one trace, %d beside five", a, b)
	}
	if n := small.Workers(64); n < 2 || int64(n)*perWorker > small.collect()/2 {
		t.Errorf("%d workers", n)
	}
	need := large.Traces(4, 1)
	if got := (&Ceiling{limit: small.For(need, 4, 1), base: small.base}).Traces(4, 1); got < need*99/100 {
		t.Errorf("%d bytes of traces fit in what is said to hold %d", got, need)
	}
}
