package scrape

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

const text = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 2
vllm:num_requests_running{engine="1"} 3
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting 20
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc 0.93
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="stop"} 100
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 50
vllm:time_to_first_token_seconds_bucket{engine="0",le="1"} 90
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 100
vllm:time_to_first_token_seconds_sum{engine="0"} 40
vllm:time_to_first_token_seconds_count{engine="0"} 100
`

func read(t *testing.T, text string, at int64) *Sample {
	t.Helper()
	s, err := Read(strings.NewReader(text), time.Unix(at, 0))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Engines are known by their labels, and their shares are not summed.
func TestSeveralEngines(t *testing.T) {
	s := read(t, text+"vllm:kv_cache_usage_perc{engine=\"1\"} 0.5\n# TYPE sglang:token_usage gauge\n"+
		"sglang:token_usage{dp_rank=\"0\"} 0.25\nsglang:token_usage{dp_rank=\"1\"} 0.75\n", 1)
	if !slices.Equal(s.Engines, []int{0, 1}) {
		t.Errorf("engines %v", s.Engines)
	}
	for name, want := range map[string]float64{"vllm:kv_cache_usage_perc": 0.93, "sglang:token_usage": 0.75,
		"vllm:num_requests_running": 5} {
		if s.Values[name] != want {
			t.Errorf("%s is %v, want %v", name, s.Values[name], want)
		}
	}
}

// Quantiles and rates are of what came between two samples.
func TestJudge(t *testing.T) {
	before := read(t, text, 100)
	now := read(t, strings.NewReplacer(`le="1"} 90`, `le="1"} 95`, `le="+Inf"} 100`, `le="+Inf"} 110`,
		`_count{engine="0"} 100`, `_count{engine="0"} 110`, `_sum{engine="0"} 40`, `_sum{engine="0"} 65`, `"stop"} 100`,
		`"stop"} 120`).Replace(text), 110)
	for _, tt := range []struct {
		text  string
		value float64
		holds bool
	}{
		{"running > 4", 5, true},
		{"running>5", 5, false},
		{"waiting / running >= 4", 4, true},
		{"vllm:num_requests_waiting - vllm:num_requests_running < 10", 15, false},
		{"running * 2 > 9", 10, true},
		{"kv_use > 90%", 0.93, true},
		// Ten came: none in the first bucket, five up to a second, five beyond.
		{"ttft_p50 > 800ms", 1, true},
		{"ttft_p25 <= 550ms", 0.55, true},
		{"ttft_p99 > 1s", 1, false}, // the last bucket has no upper bound
		{"ttft_mean > 2s", 2.5, true},
		{"vllm:request_success_total_rate < 3", 2, true},
	} {
		c, err := Parse(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		value, known, holds, err := c.Judge(before, now)
		if err != nil || !known || math.Abs(value-tt.value) > 1e-9 || holds != tt.holds {
			t.Errorf("%s: %v known %v holds %v, %v; want %v, %v", tt.text, value, known, holds, err, tt.value, tt.holds)
		}
	}
}

func TestNothingCameBetween(t *testing.T) {
	s := read(t, text, 100)
	for _, text := range []string{"ttft_p99 > 0s", "ttft_mean > 0s", "vllm:request_success_total_rate > 1"} {
		c, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		before := s
		if strings.HasSuffix(text, "_rate > 1") {
			before = nil
		}
		if _, known, holds, err := c.Judge(before, s); known || holds || err != nil {
			t.Errorf("%s: known %v holds %v %v", text, known, holds, err)
		}
	}
	// Before the first look nothing is known of what came when: a slow request may be days old.
	for _, text := range []string{"ttft_p99 > 0s", "ttft_mean > 0s"} {
		c, _ := Parse(text)
		if v, known, holds, err := c.Judge(nil, s); known || holds || err != nil {
			t.Errorf("%s at the first look: %v known %v holds %v %v", text, v, known, holds, err)
		}
	}
	for _, v := range Values(nil, s) {
		if strings.Contains(v.Name, "TTFT") {
			t.Errorf("at the first look %s is %v", v.Name, v.Value)
		}
	}
	// A server that was started anew has all its observations since.
	again := read(t, strings.ReplaceAll(text, "100", "10"), 200)
	c, _ := Parse("ttft_mean > 1s")
	if v, known, _, _ := c.Judge(s, again); !known || v != 4 {
		t.Errorf("after a restart: %v %v", v, known)
	}
	// A division by nothing is no number.
	c, _ = Parse("waiting / vllm:idle > 1")
	if _, known, holds, err := c.Judge(nil, read(t, text+"# TYPE vllm:idle gauge\nvllm:idle 0\n", 1)); known || holds ||
		err != nil {
		t.Errorf("0: %v %v %v", known, holds, err)
	}
}

func TestUnknownMetric(t *testing.T) {
	c, err := Parse("vllm:num_requests_runing > 4")
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = c.Judge(nil, read(t, text, 1))
	if u, ok := errors.AsType[*UnknownError](err); !ok || !strings.Contains(u.Error(), "vllm:num_requests_running") {
		t.Errorf("%v", err)
	}
}

func TestBadConditions(t *testing.T) {
	for _, text := range []string{"", "ttft_p99", "ttft_p99 >", "> 3", "3 > 4", "a > b", "a = 3", "a > 3 3",
		"a / b / c > 3", "a > 3 parsecs", "a{b=\"c\"} > 1"} {
		if c, err := Parse(text); err == nil {
			t.Errorf("%q is read as %+v", text, c)
		}
	}
}

func TestBadText(t *testing.T) {
	for _, text := range []string{"<html>", "a b c\n", "# TYPE a histogram\na_bucket{le=\"x\"} 1\n"} {
		if s, err := Read(strings.NewReader(text), time.Now()); err == nil {
			t.Errorf("%q is read as %v", text, s.Names())
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(text, "ttft_p99 > 800ms")
	f.Fuzz(func(t *testing.T, text, when string) {
		s, err := Read(strings.NewReader(text), time.Unix(1, 0))
		if err != nil {
			return
		}
		if c, err := Parse(when); err == nil {
			_, _, _, _ = c.Judge(nil, s)
			_, _, _, _ = c.Judge(s, s)
		}
	})
}

// What is followed is in the units of its name; what a server does not have is left out.
func TestValues(t *testing.T) {
	before := read(t, text, 100)
	now := read(t, strings.NewReplacer(`le="1"} 90`, `le="1"} 100`, `le="+Inf"} 100`, `le="+Inf"} 110`,
		`_count{engine="0"} 100`, `_count{engine="0"} 110`).Replace(text)+
		"# TYPE vllm:omni_inflight gauge\nvllm:omni_inflight{stage=\"1\"} 3\n"+
		"# TYPE vllm:omni_done_total counter\nvllm:omni_done_total 7\n", 110)
	got := map[string]float64{}
	for _, v := range Values(before, now) {
		got[v.Name] = v.Value
	}
	want := map[string]float64{"requests running": 5, "requests waiting": 20, "KV cache used %": 93, "TTFT p50 ms": 550,
		"TTFT p99 ms": 991, "vllm:omni_inflight": 3}
	for name, v := range want {
		if math.Abs(got[name]-v) > 1e-6 {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
}
