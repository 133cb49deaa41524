package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func draws(s Sampler, logits []float32, n int) map[int32]int {
	count := map[int32]int{}
	for pos := range n {
		token, _ := s.sample(nil, slices.Clone(logits), uint64(pos))
		count[token]++
	}
	return count
}

// softmax of logits over temperature, of the tokens allowed.
func softmax(logits []float32, temperature float64, allowed func(i int) bool) []float64 {
	p := make([]float64, len(logits))
	var sum float64
	for i, v := range logits {
		if allowed(i) {
			p[i] = math.Exp(float64(v) / temperature)
			sum += p[i]
		}
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func TestSamplerDistribution(t *testing.T) {
	logits := []float32{2, 1, 0.5, 0, -1, 1.5, -3, 0.9}
	const n = 40_000
	for _, c := range []struct {
		name    string
		s       Sampler
		allowed []int // nil: all
	}{
		{"plain", Sampler{Temperature: 1}, nil},
		{"hot", Sampler{Temperature: 2.5, Seed: 9}, nil},
		{"cold", Sampler{Temperature: 0.4, Seed: 1}, nil},
		{"top 3", Sampler{Temperature: 1, TopK: 3}, []int{0, 5, 1}},
		{"top k of all", Sampler{Temperature: 1, TopK: 100}, nil},
		// Sorted probabilities: 0.38 0.23 0.14 0.13 …: three make 0.7.
		{"top p", Sampler{Temperature: 1, TopP: 0.7}, []int{0, 5, 1}},
		{"top p 1", Sampler{Temperature: 1, TopP: 1}, nil},
		{"suppressed", Sampler{Temperature: 1, Suppress: []int32{0, 7}}, []int{1, 2, 3, 4, 5, 6}},
		{"all three", Sampler{Temperature: 1, TopK: 3, TopP: 0.6, Suppress: []int32{0}}, []int{5, 1}},
	} {
		allowed := func(i int) bool { return c.allowed == nil || slices.Contains(c.allowed, i) }
		p := softmax(logits, float64(c.s.Temperature), allowed)
		count := draws(c.s, logits, n)
		for i := range logits {
			got := float64(count[int32(i)]) / n
			// Five standard errors: seeds are fixed, so this cannot flicker.
			if math.Abs(got-p[i]) > 5*math.Sqrt(p[i]*(1-p[i])/n)+1e-9 {
				t.Errorf("%s: token %d came %.4f of the time, want %.4f", c.name, i, got, p[i])
			}
		}
	}
}

func TestSamplerGreedy(t *testing.T) {
	logits := []float32{1, 5, 5, -2}
	if token, lp := (&Sampler{}).sample(nil, slices.Clone(logits), 3); token != 1 ||
		math.Abs(float64(lp)-math.Log(1/(2+math.Exp(-4)+math.Exp(-7)))) > 1e-6 {
		t.Errorf("token %d, logprob %v", token, lp)
	}
	if token, lp := (&Sampler{Suppress: []int32{1, 2}}).sample(nil, slices.Clone(logits), 3); token != 0 ||
		!(lp > -100 || math.IsInf(float64(lp), -1)) {
		t.Errorf("token %d, logprob %v", token, lp)
	}
	const subnormal = 2.9e-39 // its reciprocal is no float32
	for _, s := range []Sampler{{Temperature: subnormal}, {Temperature: subnormal, TopK: 1},
		{Temperature: subnormal, TopK: 3, TopP: 0.5}} {
		if token, _ := s.sample(nil, []float32{1, 0.5, 5, -2}, 3); token != 2 {
			t.Errorf("%+v: token %d, want 2", s, token)
		}
	}
	inf := float32(math.Inf(1))
	if token, _ := (&Sampler{Temperature: 1}).sample(nil, []float32{1, inf, 5}, 3); token != 1 {
		t.Errorf("token %d beside an infinite logit", token)
	}
	nan := float32(math.NaN())
	for _, s := range []Sampler{{}, {Temperature: 1}, {Temperature: 1, TopK: 2, TopP: 0.5}} {
		if token, _ := s.sample(nil, []float32{nan, nan, nan}, 1); token < 0 || token > 2 {
			t.Errorf("token %d from NaNs", token)
		}
	}
}

// Whatever the parameters, the token is one that they allow.
func TestSamplerStaysInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rand"), 0))
		logits := make([]float32, n)
		for i := range logits {
			logits[i] = float32(r.NormFloat64() * 10)
		}
		s := Sampler{
			Temperature: float32(rapid.Float64Range(0, 5).Draw(t, "temperature")),
			TopK:        rapid.IntRange(-1, 70).Draw(t, "k"),
			TopP:        float32(rapid.Float64Range(-0.5, 1.5).Draw(t, "p")),
			Seed:        rapid.Uint64().Draw(t, "seed"),
		}
		for range rapid.IntRange(0, n-1).Draw(t, "suppressed") {
			s.Suppress = append(s.Suppress, int32(r.IntN(n)))
		}
		slices.Sort(s.Suppress)
		if s.Suppress = slices.Compact(s.Suppress); s.check(n) != nil {
			t.Fatal(s.check(n))
		}
		token, _ := s.sample(nil, slices.Clone(logits), 5)
		if slices.Contains(s.Suppress, token) {
			t.Fatalf("suppressed token %d", token)
		}
		better := 0
		for i, v := range logits {
			if v > logits[token] && !slices.Contains(s.Suppress, int32(i)) {
				better++
			}
		}
		if s.TopK > 0 && better >= s.TopK || s.Temperature == 0 && better > 0 {
			t.Fatalf("%d tokens are better than the one chosen", better)
		}
	})
}
