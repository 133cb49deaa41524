package model

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/omni/collective"
)

func TestLLMNumerics(t *testing.T) {
	for _, tie := range []bool{false, true} {
		m, err := openTiny(nil, map[string]any{"tie_word_embeddings": tie})
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(4, 4))
		ids, extra := tokens(r, 37, 301), randomRows(r, 37, 20)
		wide := make(mat, len(extra))
		for i := range extra {
			for _, v := range extra[i] {
				wide[i] = append(wide[i], float64(v))
			}
		}
		hidden, logits := naive{t, dummy{7}}.llm(m.Config(), ids, wide)
		out, err := m.Step(context.Background(), nil, []SeqStep{{Seq: 1, Tokens: ids, Embeds: extra, WantHidden: true}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range hidden {
			near(t, "hidden", out[0].Hidden[i], hidden[i], 2e-5)
		}
		last := logits[len(logits)-1]
		best, sum := 0, 0.0
		for i, v := range last {
			sum += math.Exp(v)
			if v > last[best] {
				best = i
			}
		}
		if want := last[best] - math.Log(sum); int(out[0].Token) != best ||
			math.Abs(float64(out[0].Logprob)-want) > 1e-5 {
			t.Errorf("tie %v: token %d (%v), want %d (%v)", tie, out[0].Token, out[0].Logprob, best, want)
		}
	}
}

// Ranks over real connections, and what becomes of a model whose peer dies.
func TestLLMOverTCP(t *testing.T) {
	const size = 2
	var ls []*collective.Listener
	var addrs []string
	for range size {
		l, err := collective.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ls, addrs = append(ls, l), append(addrs, l.Addr())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	groups := make([]collective.Group, size)
	join := make(chan error, size)
	for r := range size {
		go func() {
			var err error
			groups[r], err = collective.Join(ctx, ls[r], r, addrs, t.Name())
			join <- err
		}()
	}
	for range size {
		if err := <-join; err != nil {
			t.Fatal(err)
		}
	}
	whole, _ := testSeqs()
	solo, err := openTiny(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(solo, whole, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	got := onGroups(t, groups, func(g collective.Group) (string, error) {
		m, err := openTiny(g, nil)
		if err != nil {
			return "", err
		}
		x, err := generate(m, whole, 5, true)
		if err != nil || g.Rank() != 0 { // this rank's process ends here
			return x.String(), errors.Join(err, g.Close())
		}
		if m, err = openTiny(g, nil); err != nil {
			return "", err
		}
		var first error
		for first == nil {
			_, first = m.Step(ctx, nil, []SeqStep{{Seq: 1, Tokens: []int32{1}}})
		}
		_, second := m.Step(ctx, nil, []SeqStep{{Seq: 1, Tokens: []int32{1}}})
		if !strings.Contains(first.Error(), "rank 1") || second == nil || second.Error() != first.Error() {
			t.Errorf("step without rank 1: %v, then %v", first, second)
		}
		m.Free(nil, 1)
		if kv := m.KV(); kv.Free != kv.Blocks {
			t.Errorf("after Free: %+v", kv)
		}
		return x.String(), m.Close(nil)
	})
	for r := range got {
		if got[r] != want.String() {
			t.Errorf("rank %d differs from a single rank", r)
		}
	}
}

// A head that ranks cannot split evenly is padded.
func TestLLMOddVocabulary(t *testing.T) {
	for _, vocab := range []int{3, 301, 302, 303} {
		var first StepOut
		for _, size := range []int{1, 2, 4} {
			out := onRanks(t, size, func(g collective.Group) (StepOut, error) {
				m, err := openTiny(g, map[string]any{"vocab_size": vocab, "num_key_value_heads": 4})
				if err != nil {
					return StepOut{}, err
				}
				o, err := m.Step(context.Background(), nil,
					[]SeqStep{{Seq: 1, Tokens: []int32{2, 1}, Sampling: Sampler{Temperature: 1, Seed: 4}}})
				if err != nil {
					return StepOut{}, err
				}
				return o[0], nil
			})
			if size == 1 {
				first = out[0]
			}
			for r, o := range out {
				if o.Token != first.Token || o.Logprob != first.Logprob {
					t.Errorf("vocabulary %d, rank %d of %d: %+v, want %+v", vocab, r, size, o, first)
				}
			}
		}
	}
}
