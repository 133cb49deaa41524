package steps

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// tokens makes a sequence of a text: each letter is a token of 8 ns, 2 ns behind the one before; a space makes the
// next one come 100 ns later; a '?' is a token like no other.
func tokens(text string) (l []token) {
	now, other := int64(0), int32(0)
	for _, c := range text {
		if c == ' ' {
			now += 100
			continue
		}
		x := token{id: c, start: now + 2, end: now + 10}
		if c == '?' {
			other--
			x.id = other
		}
		l = append(l, x)
		now += 10
	}
	return withGaps(l)
}

// TestFindPeriod: the period of a sequence, and where its repetitions begin.
func TestFindPeriod(t *testing.T) {
	times := strings.Repeat
	layers := func(n int) string { return "e" + times("lm", n) + "h " }
	for _, c := range []struct {
		name   string
		text   string
		period int
		cuts   []int
	}{
		{"three times", "abc abc abc ", 3, []int{0, 3, 6}},
		{"twice is no repetition", "abc abc ", 0, nil},
		{"it begins behind the longest pause", "ab cab cab cab c", 3, []int{2, 5, 8, 11}},
		{"of pauses that are as long with the first", "abcabcabcabc", 3, []int{0, 3, 6, 9}},
		{"one thing again and again", "aaaaaaaa", 0, nil},
		{"layers are not steps", times(layers(3), 4), 8, []int{0, 8, 16, 24}},
		{"nor if they cover as much", times(layers(60), 4), 122, []int{0, 122, 244, 366}},
		{"two steps that differ in one thing are not one", times("abcx abcy ", 4), 4,
			[]int{0, 4, 8, 12, 16, 20, 24, 28}},
		{"half of the sequence", "abcabcabc" + times("?", 9), 3, []int{0, 3, 6}},
		{"less than half of it", "abcabcabc" + times("?", 10), 0, nil},
		{"a step with one thing more", "abcd abcd abc?d abcd abcd ", 4, []int{0, 4, 8, 13, 17}},
		{"nothing", "", 0, nil},
	} {
		p, cuts := findPeriod(tokens(c.text), minCover, minRepeats)
		if p != c.period || !slices.Equal(cuts, c.cuts) {
			t.Errorf("%s: period %d at %v, want %d at %v", c.name, p, cuts, c.period, c.cuts)
		}
	}
}

// TestFindPeriodOfReplays: one replay of a graph may be a whole step.
func TestFindPeriodOfReplays(t *testing.T) {
	l := tokens("aaaaaaaa")
	for i := range l {
		l[i].replay = true
	}
	if p, cuts := findPeriod(l, minCover, minRepeats); p != 1 || len(cuts) != 8 {
		t.Errorf("period %d at %v", p, cuts)
	}
}

// TestCutAt: another kind of token begins a step only if the pause before it is more than a twentieth longer.
func TestCutAt(t *testing.T) {
	for _, c := range []struct {
		pause int64 // before each c, where 100 ns are before each a
		first int
	}{{100, 0}, {105, 0}, {106, 2}, {1000, 2}} {
		l := tokens("abcabcabcabc")
		for i := range l {
			switch l[i].id {
			case 'a':
				l[i].gap = 100
			case 'c':
				l[i].gap = c.pause
			}
		}
		if cuts := cutAt(l, recurring(l), 3); len(cuts) != 4 || cuts[0] != c.first {
			t.Errorf("a pause of %d: cut at %v, want %d first", c.pause, cuts, c.first)
		}
	}
}

// TestRecurring: a kind of token recurs at a distance if six in ten of its distances are within a tenth of it.
func TestRecurring(t *testing.T) {
	for _, c := range []struct {
		at     []int
		median int32
		steady bool
	}{
		{[]int{0, 10, 20}, 10, true},
		{[]int{0, 10}, 0, false}, // too few to be listed
		{[]int{0, 9, 19, 30}, 10, true},
		{[]int{0, 8, 18, 30}, 10, false}, // one distance of three
		{[]int{0, 10, 20, 30, 50, 70}, 10, true},
		{[]int{0, 10, 20, 40, 60, 70, 100}, 20, false},
	} {
		l := tokens(strings.Repeat("?", c.at[len(c.at)-1]+1))
		for _, i := range c.at {
			l[i].id = 'a'
		}
		list := recurring(l)
		if len(list) != min(1, len(c.at)/minRepeats) {
			t.Errorf("%v: %d kinds", c.at, len(list))
			continue
		}
		if len(list) > 0 && (list[0].median != c.median || list[0].steady != c.steady) {
			t.Errorf("%v: %d, %t; want %d, %t", c.at, list[0].median, list[0].steady, c.median, c.steady)
		}
	}
}

// TestSteadyLength: a step may have a quarter more or fewer tokens than the period.
func TestSteadyLength(t *testing.T) {
	for n, want := range map[int]bool{5: false, 6: true, 8: true, 10: true, 11: false} {
		if got := steadyLength(n, 8); got != want {
			t.Errorf("%d of 8: %t", n, got)
		}
	}
}

// TestStartOf: how many tokens stand before what repeats to the end, six times and without a break.
func TestStartOf(t *testing.T) {
	start := strings.Repeat("?", 40)
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"six times", start + strings.Repeat("abc", 6), 40},
		{"five times", start + strings.Repeat("abc", 5), 0},
		{"from the beginning", strings.Repeat("abc", 8), 0},
		{"with a tail of a tenth", start + strings.Repeat("abc", 6) + "??", 40},
		{"with a longer one", start + strings.Repeat("abc", 6) + "???", 0},
	} {
		if got := startOf(tokens(c.text)); got != c.want {
			t.Errorf("%s: %d tokens before, want %d", c.name, got, c.want)
		}
	}
}

// TestCutSteps: a step reaches to the next one on the host and ends with its last token. The last one has a
// period's tokens, and is no step if it lacks more than a quarter of them.
func TestCutSteps(t *testing.T) {
	for _, c := range []struct {
		name, text string
		cuts       []int
		want       string
	}{
		{"whole ones", "abcd abcd ", []int{0, 4}, "2-40 142-180"},
		{"the last lacks one of four", "abcd abc", []int{0, 4}, "2-40 142-170"},
		{"it lacks two", "abcd ab", []int{0, 4}, "2-40"},
		{"one token more", "abcd abcd?", []int{0, 4}, "2-40 142-190"},
		{"more belong to no step", "abcd abcd??", []int{0, 4}, "2-40 142-180"},
	} {
		var got []string
		for _, s := range cutSteps(tokens(c.text), c.cuts, 4) {
			got = append(got, fmt.Sprintf("%d-%d", s.StartNs, s.EndNs))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
	// A token that goes on while the next step begins is cut there.
	l := tokens("abcdabcd")
	l[3].end = 1000
	if s := cutSteps(l, []int{0, 4}, 4); s[0].EndNs != l[4].start {
		t.Errorf("the first ends at %d, the second begins at %d", s[0].EndNs, l[4].start)
	}
}
