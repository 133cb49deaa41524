package model

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
)

var update = flag.Bool("update", false, "write golden files")

// op is one recorded slice.
type op struct {
	start int64
	depth uint16
	text  string
}

// recording is what f recorded: operators in order, and what each pool still holds.
type recording struct {
	ops   []op
	pools map[string]int64
	peak  map[string]int64
}

func record(t *testing.T, f func(t *profiler.Track) error) recording {
	t.Helper()
	rec := profiler.New(profiler.Config{Process: "test"})
	var out bytes.Buffer
	if err := rec.Start(profiler.StartOptions{Out: &out, RecordShapes: true, WithFLOPs: true,
		WithMemory: true}); err != nil {
		t.Fatal(err)
	}
	track := rec.Track("rank")
	ferr := f(track)
	stats, err := rec.Stop()
	if err := errors.Join(ferr, err); err != nil || stats.Drops > 0 {
		t.Fatalf("%v, stats %+v", err, stats)
	}
	rd, err := format.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	r := recording{pools: map[string]int64{}, peak: map[string]int64{}}
	for {
		g, err := rd.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range g.Slices.Name {
			text := rd.String(n)
			for _, a := range g.SliceAttrs(i) {
				switch a.Kind {
				case format.AttrShape:
					text += fmt.Sprint(" ", g.Dims(a))
				case format.AttrFLOPs:
					text += fmt.Sprint(" flops=", a.Int)
				case format.AttrInt:
					if k := rd.String(a.Key); k != "Seq" {
						text += fmt.Sprintf(" %s=%d", k, a.Int)
					}
				case format.AttrStr:
					text += fmt.Sprintf(" %s=%s", rd.String(a.Key), rd.String(a.Str()))
				}
			}
			r.ops = append(r.ops, op{g.Slices.Start[i], g.Slices.Depth[i], text})
		}
		for i, p := range g.Memory.Pool {
			pool, n := rd.String(p), g.Memory.Bytes[i]
			if !g.Memory.Alloc[i] {
				n = -n
			}
			r.pools[pool] += n
			r.peak[pool] = max(r.peak[pool], r.pools[pool])
		}
	}
	if c := rd.Cut(); c != nil {
		t.Fatalf("recording is cut: %+v", c)
	}
	slices.SortStableFunc(r.ops, func(a, b op) int {
		if a.start != b.start {
			return int(a.start - b.start)
		}
		return int(a.depth) - int(b.depth)
	})
	return r
}

func (r recording) String() string {
	var b strings.Builder
	for _, o := range r.ops {
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", int(o.depth)), o.text)
	}
	return b.String()
}

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (go test -update rewrites it): %s", path, d)
	}
}

// freed checks that every pool was used and is empty.
func (r recording) freed(t *testing.T, pools ...string) {
	t.Helper()
	for _, p := range pools {
		if r.peak[p] <= 0 || r.pools[p] != 0 {
			t.Errorf("pool %s: peak %d, left %d bytes", p, r.peak[p], r.pools[p])
		}
	}
	if len(r.pools) != len(pools) {
		t.Errorf("pools %v, want %v", r.pools, pools)
	}
}

// The operators of a decode step of two sequences on one of two ranks.
func TestRecordLLM(t *testing.T) {
	got := onRanks(t, 2, func(g collective.Group) (string, error) {
		var first recording
		all := record(t, func(tr *profiler.Track) error {
			o := map[string]any{"vocab_size": 302} // the same on both ranks
			m, err := openTinyOn(tr, g, o)
			if err != nil {
				return err
			}
			defer func() { _ = m.Close(tr) }()
			// The workspace reaches its size outside of the inner recording.
			extra := [][]float32{make([]float32, 20), nil, nil}
			for n := 3; n >= 1; n -= 2 {
				if _, err := m.Step(context.Background(), tr, []SeqStep{
					{Seq: 0, Tokens: []int32{1, 2, 3}[:n], Embeds: extra[:n]}, {Seq: 1, Tokens: []int32{1, 2, 3}[:n]},
				}); err != nil {
					return err
				}
			}
			first = record(t, func(tr *profiler.Track) error {
				_, err := m.Step(context.Background(), tr, []SeqStep{
					{Seq: 0, Tokens: []int32{4}, Sampling: Sampler{Temperature: 1}},
					{Seq: 1, Tokens: []int32{5}, Embeds: [][]float32{make([]float32, 20)}},
				})
				return err
			})
			return nil
		})
		all.freed(t, "weights", "kv_cache", "workspace")
		return first.String(), nil
	})
	checkGolden(t, "decode_step_rank0_of_2.txt", got[0])
	if got[1] != got[0] {
		t.Errorf("rank 1 recorded other operators: %s", cmp.Diff(got[0], got[1]))
	}
}

func TestRecordOthers(t *testing.T) {
	ctx := context.Background()
	record(t, func(tr *profiler.Track) error {
		v, err := OpenVocoder(ctx, tr, opts("code2wav", nil, tinyVocoder))
		if err == nil {
			_, err = v.Decode(ctx, tr, []VocodeChunk{{Stream: 1, Codes: make([]int32, 6)},
				{Stream: 2, Codes: make([]int32, 2)}})
			v.Free(tr, 2)
			err = errors.Join(err, v.Close(tr))
		}
		return err
	}).freed(t, "weights", "workspace", "streams")

	var latents []Latent
	r := record(t, func(tr *profiler.Track) error {
		e, err := OpenTextEncoder(ctx, tr, opts("text_encoder", nil, tinyText))
		if err != nil {
			return err
		}
		conds, err := e.Encode(ctx, tr, []string{"a", "b"})
		if err != nil {
			return err
		}
		d, err := OpenDiT(ctx, tr, opts("dit", nil, tinyDiT))
		if err != nil {
			return err
		}
		s, err := d.Init(tr, ImageSpec{Width: 32, Height: 32, Steps: 2, Guidance: 2, Prompt: conds[0],
			Negative: conds[1]})
		if err != nil {
			return err
		}
		err = d.Step(ctx, tr, []*ImageState{s})
		latents = []Latent{s.Latent()}
		return errors.Join(err, e.Close(tr), d.Close(tr)) // the image is freed with its model
	})
	r.freed(t, "weights", "workspace", "latents")
	for _, want := range []string{"aten::layer_norm", "aten::gelu", "kinetoscope::patchify",
		"kinetoscope::scheduler_step", "  aten::addmm"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("no %s recorded", want)
		}
	}
	r = record(t, func(tr *profiler.Track) error {
		v, err := OpenVAE(ctx, tr, opts("vae", nil, tinyVAE))
		if err == nil {
			_, err = v.Decode(ctx, tr, latents)
			err = errors.Join(err, v.Close(tr))
		}
		return err
	})
	r.freed(t, "weights", "workspace")
	for _, want := range []string{"aten::conv2d", "aten::group_norm", "aten::upsample_nearest2d"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("no %s recorded", want)
		}
	}
}

// A recording that begins in the middle of a model's life balances, too.
func TestReportMemory(t *testing.T) {
	ctx := context.Background()
	l, err := openTiny(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Step(ctx, nil, []SeqStep{{Seq: 1, Tokens: make([]int32, 40)}}); err != nil {
		t.Fatal(err)
	}
	v, err := openTinyVocoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Decode(ctx, nil, []VocodeChunk{{Stream: 1, Codes: make([]int32, 4)}}); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDiT(ctx, nil, opts("dit", nil, tinyDiT))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Init(nil, ImageSpec{Width: 32, Height: 32, Steps: 1,
		Prompt: Cond{1, 32, make([]float32, 32)}}); err != nil {
		t.Fatal(err)
	}
	record(t, func(tr *profiler.Track) error {
		l.ReportMemory(tr)
		return l.Close(tr)
	}).freed(t, "weights", "kv_cache", "workspace")
	record(t, func(tr *profiler.Track) error {
		v.ReportMemory(tr)
		return v.Close(tr)
	}).freed(t, "weights", "workspace", "streams")
	record(t, func(tr *profiler.Track) error {
		d.ReportMemory(tr)
		return d.Close(tr)
	}).freed(t, "weights", "workspace", "latents")
}
