package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// Sampler says how a token is chosen from logits. The zero value is greedy.
//
// The order is vLLM's: Suppress, Temperature, TopK, TopP, then one draw. The draw is a
// function of Seed and the position of the token alone, so that it depends neither on
// the batch nor on the rank.
type Sampler struct {
	Temperature float32 // <= 0: greedy
	TopK        int     // <= 0: all
	TopP        float32 // <= 0 or >= 1: all
	Seed        uint64
	Suppress    []int32 // tokens never chosen, EOS before a minimum length say; at least one token must remain
}

func (s *Sampler) check(vocab int) error {
	if t := float64(s.Temperature); math.IsNaN(t) || math.IsInf(t, 0) || s.TopP != s.TopP {
		return fmt.Errorf("temperature %v, top_p %v: want finite numbers", s.Temperature, s.TopP)
	}
	if len(s.Suppress) >= vocab {
		return fmt.Errorf("%d tokens of %d suppressed", len(s.Suppress), vocab)
	}
	for _, id := range s.Suppress {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("suppressed token %d is outside the vocabulary of %d", id, vocab)
		}
	}
	return nil
}

// choice is a token that may be drawn.
type choice struct {
	id     int32
	weight float32 // the logit over temperature, then e^ of its distance to the best
}

// sample chooses the token of position pos; it may write to logits.
func (s *Sampler) sample(t *profiler.Track, logits []float32, pos uint64) (token int32, logprob float32) {
	name := opMultinomial
	if s.Temperature <= 0 {
		name = opArgmax
	}
	sp := t.Begin(name, profiler.CategoryOp)
	if t.Enabled() {
		sp.Shape(profiler.Float32, 1, len(logits))
	}
	defer sp.End()
	norm := logSumExp(logits)
	inf := float32(math.Inf(-1))
	for _, id := range s.Suppress {
		logits[id] = inf
	}
	if s.Temperature <= 0 {
		token = argmax(logits)
	} else {
		token = s.draw(logits, uniform(s.Seed, pos))
	}
	return token, float32(float64(logits[token]) - norm)
}

// argmax is the first of the largest.
func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// uniform is a number in [0, 1) that depends on seed and position alone.
func uniform(seed, pos uint64) float64 {
	return float64(mix64(mix64(seed)^mix64(pos*golden+1))>>11) / (1 << 53)
}

func (s *Sampler) draw(logits []float32, u float64) int32 {
	best := kernel.Max(logits)
	if math.IsInf(float64(best), 0) { // only -Inf and NaN, or one infinite logit that outweighs all others
		return argmax(logits)
	}
	c := make([]choice, 0, len(logits))
	for i, v := range logits {
		if v > float32(math.Inf(-1)) {
			// Division, not multiplication by the reciprocal: the reciprocal of a subnormal
			// temperature is +Inf, and the best weight would be NaN.
			c = append(c, choice{int32(i), (v - best) / s.Temperature})
		}
	}
	if s.TopK > 0 && s.TopK < len(c) {
		c = topK(c, s.TopK)
	}
	w := make([]float32, len(c))
	for i := range c {
		w[i] = c[i].weight
	}
	kernel.Exp(w, w)
	var total float64
	for i := range c {
		c[i].weight = w[i]
		total += float64(w[i])
	}
	if s.TopP > 0 && s.TopP < 1 {
		c, total = topP(c, float64(s.TopP)*total)
	}
	u *= total
	for _, x := range c {
		u -= float64(x.weight)
		if u < 0 {
			return x.id
		}
	}
	return c[len(c)-1].id // rounding
}

// heavier orders by weight, then by id, so that ties fall the same way everywhere.
func heavier(a, b choice) int {
	return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.id, b.id))
}

// topK keeps the k heaviest, by a heap of k whose root is the lightest.
func topK(c []choice, k int) []choice {
	h := c[:k]
	down := func(i int) {
		for {
			j := 2*i + 1
			if j >= k {
				return
			}
			if j+1 < k && heavier(h[j+1], h[j]) > 0 {
				j++
			}
			if heavier(h[j], h[i]) <= 0 {
				return
			}
			h[i], h[j] = h[j], h[i]
			i = j
		}
	}
	for i := k/2 - 1; i >= 0; i-- {
		down(i)
	}
	for _, x := range c[k:] {
		if heavier(x, h[0]) < 0 {
			h[0] = x
			down(0)
		}
	}
	slices.SortFunc(h, heavier)
	return h
}

// topP keeps the heaviest until their weights reach mass, the one that reaches it
// included.
func topP(c []choice, mass float64) ([]choice, float64) {
	slices.SortFunc(c, heavier)
	var sum float64
	for i, x := range c {
		sum += float64(x.weight)
		if sum >= mass {
			return c[:i+1], sum
		}
	}
	return c, sum
}
