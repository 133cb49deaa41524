package omni

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
)

// A cache that holds two of four sequences makes the stage evict and compute anew;
// nobody may see it in what comes out.
func TestEvictedSequencesComeOutTheSame(t *testing.T) {
	answers := func(blocks int) (out []string, evictions float64) {
		p, _, err := deploy.Load("omni")
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Stages[:2] {
			p.Stages[i].NumKVBlocks = blocks
			p.Stages[i].MaxModelLen = 100
		}
		e := open(t, Config{Deployment: p})
		out = make([]string, 4)
		var wg sync.WaitGroup
		for i := range out {
			wg.Go(func() {
				m, err := generate(t.Context(), e, say(fmt.Sprintf("Request %d.", i), 40))
				if err != nil {
					t.Error(err)
				}
				out[i] = fmt.Sprintf("%s %v", m.text, m.pcm[:min(len(m.pcm), 2000)])
			})
		}
		wg.Wait()
		eventually(t, "all stages to be empty", func() (bool, string) { return held(t, e) })
		replies, err := e.CollectiveRPC(t.Context(), "info", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range replies[:2] {
			evictions += s.Ranks[0].Result.(map[string]any)["evictions"].(float64)
		}
		return out, evictions
	}
	ample, none := answers(64)
	tight, some := answers(7)
	if none != 0 || some == 0 {
		t.Errorf("%v evictions with room for all, %v with room for two", none, some)
	}
	if t.Failed() || !slices.Equal(ample, tight) {
		t.Errorf("answers differ:\n%.80q\n%.80q", ample, tight)
	}
}

func TestStopStrings(t *testing.T) {
	e := open(t, Config{})
	r := say("Tell me something.", 30)
	r.Modalities = []string{"text"}
	whole, err := generate(t.Context(), e, r)
	if err != nil {
		t.Fatal(err)
	}
	at := len(whole.text) / 2
	stop := whole.text[at : at+7]
	r.Sampling.Stop = []string{"never in there \x01", stop}
	cut, err := generate(t.Context(), e, r)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := strings.Cut(whole.text, stop)
	if cut.text != want || cut.last.FinishReason != "stop" {
		t.Errorf("stop at %q: %q (%s), want %q", stop, cut.text, cut.last.FinishReason, want)
	}
}
