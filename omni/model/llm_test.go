package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// onRanks runs f on every rank of an in-process group and returns what each returned.
func onRanks[T any](t testing.TB, size int, f func(g collective.Group) (T, error)) []T {
	t.Helper()
	groups, err := collective.Pipe(size, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return onGroups(t, groups, f)
}

func onGroups[T any](t testing.TB, groups []collective.Group, f func(g collective.Group) (T, error)) []T {
	t.Helper()
	out, errs := make([]T, len(groups)), make([]error, len(groups))
	var wg sync.WaitGroup
	for r, g := range groups {
		wg.Go(func() {
			out[r], errs[r] = f(g)
			if errs[r] != nil {
				_ = g.Close()
			}
		})
	}
	wg.Wait()
	for _, g := range groups {
		wg.Go(func() { _ = g.Close() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return out
}

// tinyLLM is a config that is quick and has every feature.
var tinyLLM = map[string]any{
	"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 12, "num_hidden_layers": 3,
	"intermediate_size": 96, "vocab_size": 301, "max_position_embeddings": 128, "attention_bias": true,
	"embedding_size": 20,
}

func openTiny(g collective.Group, more map[string]any) (*LLM, error) { return openTinyOn(nil, g, more) }

func openTinyOn(t *profiler.Track, g collective.Group, more map[string]any) (*LLM, error) {
	o := map[string]any{}
	for k, v := range tinyLLM {
		o[k] = v
	}
	for k, v := range more {
		o[k] = v
	}
	return OpenLLM(context.Background(), t, Options{Model: "builtin/talker", LoadFormat: LoadDummy, Seed: 7, Group: g,
		Overrides: o})
}

func tokens(r *rand.Rand, n, vocab int) []int32 {
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(r.IntN(vocab))
	}
	return x
}

func randomRows(r *rand.Rand, n, d int) [][]float32 {
	x := make([][]float32, n)
	for i := range x {
		x[i] = make([]float32, d)
		for j := range x[i] {
			x[i][j] = float32(r.NormFloat64())
		}
	}
	return x
}

// generation is what a run made: tokens and hidden states, as bits.
type generation struct {
	Tokens map[SeqID][]int32
	Bits   map[SeqID][]uint32 // of hidden states
	Prob   map[SeqID][]uint32
}

func (g *generation) put(seq SeqID, o StepOut) {
	if o.Token >= 0 {
		g.Tokens[seq] = append(g.Tokens[seq], o.Token)
		g.Prob[seq] = append(g.Prob[seq], math.Float32bits(o.Logprob))
	}
	for _, h := range o.Hidden {
		for _, v := range h {
			g.Bits[seq] = append(g.Bits[seq], math.Float32bits(v))
		}
	}
}

func (g generation) String() string { return fmt.Sprintf("%v %v %v", g.Tokens, g.Bits, g.Prob) }

// chunked is a prompt of one sequence and how it is cut.
type chunked struct {
	seq    SeqID
	prompt []int32
	embeds [][]float32
	chunks []int
}

// generate prefills each sequence in its chunks and decodes n tokens. together batches
// what can be batched; otherwise sequences run one after the other.
func generate(m *LLM, seqs []chunked, n int, together bool) (generation, error) {
	g := generation{map[SeqID][]int32{}, map[SeqID][]uint32{}, map[SeqID][]uint32{}}
	ctx := context.Background()
	step := func(b []SeqStep) error {
		out, err := m.Step(ctx, nil, b)
		for i := range out {
			g.put(b[i].Seq, out[i])
		}
		return err
	}
	at := make([]int, len(seqs))
	chunk := make([]int, len(seqs))
	made := make([]int, len(seqs))
	next := func(i int) (SeqStep, bool) {
		q := seqs[i]
		b := SeqStep{Seq: q.seq, WantHidden: true, Sampling: Sampler{Temperature: 0.8, TopK: 50, TopP: 0.95,
			Seed: uint64(q.seq)}}
		if at[i] < len(q.prompt) {
			n := q.chunks[chunk[i]]
			b.Tokens = q.prompt[at[i] : at[i]+n]
			if q.embeds != nil {
				b.Embeds = q.embeds[at[i] : at[i]+n]
			}
			at[i] += n
			chunk[i]++
			b.Partial = at[i] < len(q.prompt)
			return b, true
		}
		if made[i] == n {
			return b, false
		}
		made[i]++
		ts := g.Tokens[q.seq]
		b.Tokens = ts[len(ts)-1:]
		return b, true
	}
	for i := 0; i < len(seqs); i++ {
		for {
			var batch []SeqStep
			for j := range seqs {
				if !together && j != i {
					continue
				}
				if b, ok := next(j); ok {
					batch = append(batch, b)
				}
			}
			if len(batch) == 0 {
				break
			}
			if err := step(batch); err != nil {
				return g, err
			}
		}
	}
	for _, q := range seqs {
		m.Free(nil, q.seq)
	}
	if kv := m.KV(); kv.Free != kv.Blocks || kv.Seqs != 0 {
		return g, fmt.Errorf("after Free: %+v", kv)
	}
	return g, m.Close(nil)
}

func testSeqs() (whole, cut []chunked) {
	r := rand.New(rand.NewPCG(9, 9))
	for i, chunks := range [][]int{{1}, {5, 1, 11}, {40}, {16, 17}, {2, 3}} {
		n := 0
		for _, c := range chunks {
			n += c
		}
		q := chunked{seq: SeqID(i + 1), prompt: tokens(r, n, 301), chunks: chunks}
		if i%2 == 1 {
			q.embeds = randomRows(r, n, 20)
			q.embeds[0] = nil
		}
		cut = append(cut, q)
		q.chunks = []int{n}
		whole = append(whole, q)
	}
	return whole, cut
}

// The promise of the package: the same bits for any number of ranks, in any batch, in
// any chunks.
func TestLLMSameBits(t *testing.T) {
	whole, cut := testSeqs()
	run := func(size int, seqs []chunked, together bool) string {
		out := onRanks(t, size, func(g collective.Group) (string, error) {
			m, err := openTiny(g, nil)
			if err != nil {
				return "", err
			}
			x, err := generate(m, seqs, 20, together)
			return x.String(), err
		})
		for r := range out {
			if out[r] != out[0] {
				t.Errorf("size %d: rank %d differs from rank 0", size, r)
			}
		}
		return out[0]
	}
	want := run(1, whole, false)
	for _, size := range []int{1, 2, 4} {
		if got := run(size, whole, true); got != want {
			t.Errorf("%d ranks, batched: differs", size)
		}
		if got := run(size, cut, true); len(got) == 0 || got != run(1, cut, false) {
			t.Errorf("%d ranks, in chunks: batched differs from alone", size)
		}
	}
	if got := run(1, cut, false); got != want {
		t.Error("in chunks: differs from whole")
	}
	if !strings.Contains(want, "map[1:[") {
		t.Fatal("nothing generated")
	}
}

func TestLLMPoolIsBounded(t *testing.T) {
	m, err := OpenLLM(context.Background(), nil, Options{Model: "builtin/talker", LoadFormat: LoadDummy,
		Overrides: tinyLLM, KVBlocks: 3})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	prompt := make([]int32, 17)
	if _, err := m.Step(ctx, nil, []SeqStep{{Seq: 1, Tokens: prompt}}); err != nil {
		t.Fatal(err)
	}
	before := m.KV()
	_, err = m.Step(ctx, nil, []SeqStep{{Seq: 1, Tokens: prompt[:1]}, {Seq: 2, Tokens: prompt}})
	if !errors.Is(err, ErrNoKVBlocks) || m.KV() != before || m.Len(1) != 17 || m.Len(2) != 0 {
		t.Fatalf("err %v, kv %+v, was %+v", err, m.KV(), before)
	}
	if n := m.BlocksNeeded(1, 15); n != 0 {
		t.Errorf("BlocksNeeded(1, 15) = %d", n)
	}
	if n := m.BlocksNeeded(1, 16); n != 1 {
		t.Errorf("BlocksNeeded(1, 16) = %d", n)
	}
	m.Free(nil, 1)
	m.Free(nil, 1)
	if _, err := m.Step(ctx, nil, []SeqStep{{Seq: 2, Tokens: prompt}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(nil); err != nil {
		t.Fatal(err)
	}
	if m.MemoryBytes() != 0 {
		t.Errorf("closed model holds %d bytes", m.MemoryBytes())
	}
	if _, err := m.Step(ctx, nil, []SeqStep{{Seq: 2, Tokens: prompt}}); !errors.Is(err, ErrClosed) {
		t.Errorf("step after close: %v", err)
	}
}

func TestLLMRefuses(t *testing.T) {
	m, err := openTiny(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name  string
		ctx   context.Context
		batch []SeqStep
		want  string
	}{
		{"empty", context.Background(), nil, "0 sequences"},
		{"no positions", context.Background(), []SeqStep{{Seq: 1}}, "no new positions"},
		{"twice", context.Background(), []SeqStep{{Seq: 1, Tokens: []int32{1}}, {Seq: 1, Tokens: []int32{1}}}, "twice"},
		{"token", context.Background(), []SeqStep{{Seq: 1, Tokens: []int32{301}}}, "token 301"},
		{"negative", context.Background(), []SeqStep{{Seq: 1, Tokens: []int32{-1}}}, "token -1"},
		{"too long", context.Background(), []SeqStep{{Seq: 1, Tokens: make([]int32, 129)}}, "too long"},
		{"lengths", context.Background(), []SeqStep{{Seq: 1, Tokens: make([]int32, 2), Embeds: make([][]float32, 3)}},
			"2 tokens but 3"},
		{"embed size", context.Background(), []SeqStep{{Seq: 1, Embeds: [][]float32{{1}}}}, "want 20"},
		{"suppressed", context.Background(),
			[]SeqStep{{Seq: 1, Tokens: []int32{1}, Sampling: Sampler{Suppress: []int32{999}}}}, "999"},
		{"nan", context.Background(), []SeqStep{{Seq: 1, Tokens: []int32{1},
			Sampling: Sampler{Temperature: float32(math.NaN())}}}, "finite"},
		{"canceled", canceled, []SeqStep{{Seq: 1, Tokens: []int32{1}}}, "canceled"},
	} {
		before := m.KV()
		_, err := m.Step(c.ctx, nil, c.batch)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if m.KV() != before {
			t.Errorf("%s: cache changed: %+v", c.name, m.KV())
		}
	}
	if _, err := m.Step(context.Background(), nil, []SeqStep{{Seq: 1, Tokens: []int32{1}}}); err != nil {
		t.Errorf("model no longer works: %v", err)
	}
}

func BenchmarkLLM(b *testing.B) {
	for _, name := range []string{"thinker", "talker"} {
		m, err := OpenLLM(context.Background(), nil, Options{Model: "builtin/" + name, LoadFormat: LoadDummy})
		if err != nil {
			b.Fatal(err)
		}
		ctx := context.Background()
		prompt := make([]int32, 64)
		sampling := Sampler{Temperature: 0.8, TopK: 40, TopP: 0.95}
		b.Run(name+"/prefill64", func(b *testing.B) {
			report := cpuTime(b)
			for b.Loop() {
				if _, err := m.Step(ctx, nil, []SeqStep{{Seq: 1, Tokens: prompt, Sampling: sampling}}); err != nil {
					b.Fatal(err)
				}
				m.Free(nil, 1)
			}
			report()
		})
		for _, n := range []int{1, 4, 8} {
			b.Run(fmt.Sprintf("%s/decode%d", name, n), func(b *testing.B) {
				seed := func(s SeqID) {
					m.Free(nil, s)
					if _, err := m.Step(ctx, nil, []SeqStep{{Seq: s, Tokens: make([]int32, 256)}}); err != nil {
						b.Fatal(err)
					}
				}
				var batch []SeqStep
				for i := range n {
					seed(SeqID(i + 1))
					batch = append(batch, SeqStep{Seq: SeqID(i + 1), Tokens: prompt[:1], Sampling: sampling})
				}
				report := cpuTime(b)
				for b.Loop() {
					if m.Len(1) > 512 {
						b.StopTimer()
						for i := range n {
							seed(SeqID(i + 1))
						}
						b.StartTimer()
					}
					if _, err := m.Step(ctx, nil, batch); err != nil {
						b.Fatal(err)
					}
				}
				report()
				for i := range n {
					m.Free(nil, SeqID(i+1))
				}
			})
		}
		b.Logf("%s: %d bytes", name, m.MemoryBytes())
	}
}
