package profiler

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// letters draws a schedule's first steps: . none, w warm-up, R record, S record and save.
func letters(s Schedule, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteByte(".wRS"[s.At(i)])
	}
	return b.String()
}

// The expected rows follow from torch.profiler.schedule's documentation and code
// (torch 2.x): skip_first once, then cycles of wait, warmup, active; the last active step
// of a cycle saves; repeat 0 is for ever; skip_first_wait drops the first cycle's wait.
func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Schedule
		want string
	}{
		{"wait 1 warmup 1 active 2 for ever", Schedule{Wait: 1, Warmup: 1, Active: 2}, ".wRS.wRS.wRS"},
		{"repeat 2", Schedule{Wait: 1, Warmup: 1, Active: 2, Repeat: 2}, ".wRS.wRS...."},
		{"repeat 1, skip_first 3", Schedule{SkipFirst: 3, Wait: 1, Warmup: 2, Active: 3, Repeat: 1}, "....wwRRS..."},
		{"active 1 saves each time", Schedule{Wait: 2, Active: 1}, "..S..S..S..S"},
		{"no wait, no warmup", Schedule{Active: 3}, "RRSRRSRRSRRS"},
		{"skip_first_wait", Schedule{SkipFirst: 2, Wait: 3, Warmup: 1, Active: 1, Repeat: 2, SkipFirstWait: true},
			"..wS...wS..."},
		{"vLLM: delay 2, wait 1, warmup 1, active 2", Schedule{SkipFirst: 2, Wait: 1, Warmup: 1, Active: 2, Repeat: 1},
			"...wRS......"},
		{"max cuts a cycle", Schedule{Active: 4, Max: 6}, "RRRSRS......"},
		{"max over cycles with waits", Schedule{Wait: 1, Active: 2, Max: 3}, ".RS.S......."},
		{"open: only max", Schedule{SkipFirst: 1, Max: 3}, ".RRS........"},
		{"open: wait and warmup", Schedule{Wait: 1, Warmup: 2, Max: 2}, ".wwRS......."},
		{"open without end", Schedule{SkipFirst: 2}, "..RRRRRRRRRR"},
		{"zero records everything", Schedule{}, "RRRRRRRRRRRR"},
	} {
		if got := letters(c.s, 12); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if err := c.s.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	err := Schedule{Wait: -1, Max: -2}.Validate()
	if err == nil || !strings.Contains(err.Error(), "wait is -1") || !strings.Contains(err.Error(), "max is -2") {
		t.Errorf("Validate: %v", err)
	}
}

// Against a machine that walks step by step, and Done against the future.
func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(rt, name) }
		s := Schedule{n("skip", 0, 5), n("wait", 0, 4), n("warmup", 0, 4), n("active", 0, 4), n("repeat", 0, 3),
			rapid.Bool().Draw(rt, "sfw"), n("max", 0, 9)}
		const steps = 120
		want := walk(s, steps)
		if got := letters(s, steps); got != want {
			rt.Fatalf("%+v: %s, walking %s", s, got, want)
		}
		for i := range 60 {
			done := !strings.ContainsAny(want[i:], "wRS")
			if s.Done(i) && strings.ContainsAny(want[i:], "RS") {
				rt.Fatalf("%+v: done at %d, but %s", s, i, want)
			}
			if done && !s.Done(i) {
				rt.Fatalf("%+v: not done at %d: %s", s, i, want)
			}
		}
		p := NewStepper(s)
		for i := range 20 {
			if p.Action() != s.At(i) || p.Index() != i || p.Done() != s.Done(i) {
				rt.Fatalf("stepper differs at %d", i)
			}
			p.Step()
		}
	})
}

// walk is the schedule as a program would be written without arithmetic.
func walk(s Schedule, steps int) string {
	var out []byte
	emit := func(n int, b byte) {
		for range n {
			out = append(out, b)
		}
	}
	emit(s.SkipFirst, '.')
	recorded := 0
	for cycle := 0; len(out) < steps; cycle++ {
		if s.Repeat > 0 && s.Active > 0 && cycle >= s.Repeat || s.Max > 0 && recorded >= s.Max {
			emit(steps, '.')
			break
		}
		if !(cycle == 0 && s.SkipFirstWait) {
			emit(s.Wait, '.')
		}
		emit(s.Warmup, 'w')
		active := s.Active
		if active == 0 {
			active = steps * 10
		}
		for i := range active {
			if s.Max > 0 && recorded >= s.Max {
				emit(1, '.')
				continue
			}
			recorded++
			if i == active-1 || recorded == s.Max {
				emit(1, 'S')
			} else {
				emit(1, 'R')
			}
		}
	}
	return string(out[:steps])
}

func TestSampler(t *testing.T) {
	s := NewSampler(4)
	chosen := 0
	for range 400 {
		p := s.Decide(TraceParent{})
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		if p.Sampled() {
			chosen++
		}
		// The next stage keeps the decision, whatever its own rate is.
		if q := NewSampler(1).Decide(p); q != p {
			t.Fatal("a decision did not travel")
		}
	}
	if chosen != 100 {
		t.Errorf("%d of 400 chosen", chosen)
	}
	s.SetEvery(0)
	if s.Decide(TraceParent{}).Sampled() {
		t.Error("rate 0 chooses")
	}
}
