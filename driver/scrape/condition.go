package scrape

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Condition is a comparison of one metric, or of two that are put together, with a number:
//
//	ttft_p99 > 800ms
//	waiting >= 20
//	vllm:num_requests_waiting / vllm:num_requests_running > 4
//	vllm:request_success_total_rate < 1
//
// A name is one of Short, or a metric's own. A histogram's ends with _p and a percentile, or
// with _mean: of the observations between two samples. A counter's ends with _rate: a second.
type Condition struct {
	Text        string
	left, right term
	join        string // between the two: + - * /, "" for one
	compare     string // > >= < <=
	bound       float64
}

// term is a metric or a number.
type term struct {
	name   string // as it is typed; "" for a number
	number float64
}

// Short are names for what servers call differently; the first that a server has counts.
var Short = map[string][]string{
	"ttft": {"vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds",
		"vllm:omni_time_to_first_token_seconds"},
	"tpot": {"vllm:time_per_output_token_seconds", "vllm:request_time_per_output_token_seconds",
		"sglang:time_per_output_token_seconds"},
	"itl": {"vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds",
		"sglang:inter_token_latency_seconds"},
	"e2e":     {"vllm:e2e_request_latency_seconds", "sglang:e2e_request_latency_seconds"},
	"queue":   {"vllm:request_queue_time_seconds", "sglang:queue_time_seconds"},
	"running": {"vllm:num_requests_running", "sglang:num_running_reqs"},
	"waiting": {"vllm:num_requests_waiting", "sglang:num_queue_reqs"},
	"kv_use":  {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"},

	"prompt_tokens":    {"vllm:prompt_tokens_total", "sglang:prompt_tokens_total"},
	"generated_tokens": {"vllm:generation_tokens_total", "sglang:generation_tokens_total"},
	"preemptions":      {"vllm:num_preemptions_total", "sglang:num_retracted_reqs_total"},
}

var (
	nameText    = `[A-Za-z_:][A-Za-z0-9_:]*`
	numberText  = `\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\s*(?:us|µs|ms|s|m|h|%)?`
	termText    = `(?:` + nameText + `|` + numberText + `)`
	isCondition = regexp.MustCompile(`^\s*(` + termText + `)\s*(?:([-+*/])\s*(` + termText + `)\s*)?(>=|<=|>|<)\s*(` +
		numberText + `)\s*$`)
	isNumber    = regexp.MustCompile(`^(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(us|µs|ms|s|m|h|%)?$`)
	quantileEnd = regexp.MustCompile(`^(.+)_p(\d{1,2}(?:_\d)?)$`)
	units       = map[string]float64{"": 1, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "%": 0.01}
)

// Parse reads a condition. Durations are in seconds, as Prometheus has them.
func Parse(text string) (*Condition, error) {
	m := isCondition.FindStringSubmatch(text)
	if m == nil {
		return nil,
			fmt.Errorf("condition %q: want METRIC > NUMBER, or METRIC / METRIC > NUMBER: 'ttft_p99 > 800ms', 'waiting / running > 4'", text)
	}
	c := &Condition{Text: strings.TrimSpace(text), left: parseTerm(m[1]), join: m[2], compare: m[4],
		bound: parseTerm(m[5]).number}
	if c.join != "" {
		c.right = parseTerm(m[3])
	}
	for _, n := range []float64{c.bound, c.left.number, c.right.number} {
		if math.IsInf(n, 0) {
			return nil, fmt.Errorf("condition %q has a number that is too large", text)
		}
	}
	if c.left.name == "" && c.right.name == "" {
		return nil, fmt.Errorf("condition %q names no metric", text)
	}
	return c, nil
}

func parseTerm(text string) term {
	m := isNumber.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return term{name: text}
	}
	n, _ := strconv.ParseFloat(m[1], 64) // the expression lets nothing else through
	return term{number: n * units[m[2]]}
}

// UnknownError says that a server does not have a metric.
type UnknownError struct {
	Name string
	Like []string // names that it has
}

// Error lists the metrics that are there.
func (e *UnknownError) Error() string {
	text := fmt.Sprintf("there is no metric %s", e.Name)
	if len(e.Like) > 0 {
		text += "; there are " + strings.Join(e.Like, ", ")
	}
	return text
}

// Judge evaluates a condition on two samples of one server; before is nil for the first one. If there were
// no observations between the two samples, or there is no sample before, the value of a histogram or rate is
// not known and the condition does not hold. The error is an *UnknownError.
func (c *Condition) Judge(before, now *Sample) (value float64, known, holds bool, err error) {
	l, known, err := c.left.value(before, now)
	if err != nil || !known {
		return 0, false, false, err
	}
	if c.join != "" {
		r, known, err := c.right.value(before, now)
		if err != nil || !known || c.join == "/" && r == 0 {
			return 0, false, false, err
		}
		switch c.join {
		case "+":
			l += r
		case "-":
			l -= r
		case "*":
			l *= r
		case "/":
			l /= r
		}
	}
	switch c.compare {
	case ">":
		holds = l > c.bound
	case ">=":
		holds = l >= c.bound
	case "<":
		holds = l < c.bound
	case "<=":
		holds = l <= c.bound
	}
	return l, true, holds, nil
}

func (t term) value(before, now *Sample) (float64, bool, error) {
	if t.name == "" {
		return t.number, true, nil
	}
	if v, ok := lookup(now.Values, t.name); ok {
		return v, true, nil
	}
	first := before == nil // what a histogram has then may be days old
	if first {
		before = &Sample{}
	}
	if m := quantileEnd.FindStringSubmatch(t.name); m != nil {
		if name, ok := find(now.Histograms, m[1]); ok {
			p, _ := strconv.ParseFloat(strings.ReplaceAll(m[2], "_", "."), 64)
			v, known := now.Histograms[name].since(before.Histograms[name]).Quantile(p / 100)
			return v, known && !first, nil
		}
	}
	if base, ok := strings.CutSuffix(t.name, "_mean"); ok {
		if name, ok := find(now.Histograms, base); ok {
			v, known := now.Histograms[name].since(before.Histograms[name]).Mean()
			return v, known && !first, nil
		}
	}
	if base, ok := strings.CutSuffix(t.name, "_rate"); ok {
		if name, ok := find(now.Values, base); ok {
			was, had := before.Values[name]
			s := now.At.Sub(before.At).Seconds()
			if !had || s <= 0 || was > now.Values[name] {
				return 0, false, nil
			}
			return (now.Values[name] - was) / s, true, nil
		}
	}
	return 0, false, &UnknownError{Name: t.name, Like: near(t.name, now)}
}

// find returns the full name for an abbreviated one.
func find[T any](in map[string]T, name string) (string, bool) {
	for _, full := range append([]string{name}, Short[name]...) {
		if _, ok := in[full]; ok {
			return full, true
		}
	}
	return "", false
}

func lookup(in map[string]float64, name string) (float64, bool) {
	full, ok := find(in, name)
	return in[full], ok
}

// maxNear is how many names an error lists.
const maxNear = 12

// near are the names that have a part of name in them, or the first ones.
func near(name string, s *Sample) []string {
	var out []string
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '_' || r == ':' })
	all := s.Names()
	for _, n := range all {
		if slices.ContainsFunc(parts, func(p string) bool { return len(p) > 2 && strings.Contains(n, p) }) {
			out = append(out, n)
		}
	}
	if out == nil {
		out = all
	}
	return out[:min(len(out), maxNear)]
}
