package stepcost

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/omni/model"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// modes are the states of the recorder; a round passes them all.
var modes = []string{"none", "armed", "flight", "recording"}

// roundSteps are the steps of one mode in one round: short, so that a change of the
// machine's speed meets all modes.
const roundSteps = 4

// stepper makes one step of a model on a track.
type stepper func(t *profiler.Track) error

func BenchmarkDecodeStep(b *testing.B) {
	m, err := model.OpenLLM(b.Context(), nil, model.Options{Model: "builtin/thinker", LoadFormat: model.LoadDummy,
		Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close(nil)
	batch := make([]model.SeqStep, 4)
	prompt := make([]int32, 64)
	reset := func() error {
		for i := range batch {
			m.Free(nil, model.SeqID(i+1))
			batch[i] = model.SeqStep{Seq: model.SeqID(i + 1), Tokens: prompt}
		}
		_, err := m.Step(b.Context(), nil, batch)
		for i := range batch {
			batch[i].Tokens = prompt[:1]
		}
		return err
	}
	n := 0
	measure(b, func(t *profiler.Track) error {
		if n%256 == 0 {
			if err := reset(); err != nil {
				return err
			}
		}
		n++
		_, err := m.Step(b.Context(), t, batch)
		return err
	})
}

func BenchmarkDenoiseStep(b *testing.B) {
	m, err := model.OpenDiT(b.Context(), nil, model.Options{Model: "builtin/dit", LoadFormat: model.LoadDummy, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close(nil)
	dim := m.Config().CaptionChannels
	spec := model.ImageSpec{Width: 64, Height: 64, Steps: model.MaxDenoiseSteps, Guidance: 1,
		Prompt: model.Cond{Tokens: 8, Dim: dim, Hidden: make([]float32, 8*dim)}}
	var state *model.ImageState
	measure(b, func(t *profiler.Track) error {
		if state == nil || state.Done() {
			if state != nil {
				m.Free(nil, state)
			}
			if state, err = m.Init(nil, spec); err != nil {
				return err
			}
		}
		return m.Step(b.Context(), t, []*model.ImageState{state})
	})
}

// measure runs rounds of all modes and reports each mode's median step and its ratio
// to the step without a recorder.
func measure(b *testing.B, step stepper) {
	rec := profiler.New(profiler.Config{Process: "stepcost"})
	track := rec.Track("engine")
	defer track.Close()
	times := map[string][]time.Duration{}
	for range 8 { // warm up
		if err := step(nil); err != nil {
			b.Fatal(err)
		}
	}
	for n := 0; b.Loop(); n++ {
		for i := range modes {
			mode := modes[(n+i)%len(modes)] // what comes first after what must not matter
			d, err := round(rec, track, mode, step)
			if err != nil {
				b.Fatalf("%s: %v", mode, err)
			}
			times[mode] = append(times[mode], d...)
		}
	}
	base := median(times["none"])
	for _, mode := range modes {
		m := median(times[mode])
		b.ReportMetric(float64(m.Nanoseconds()), mode+"-ns/step")
		if mode != "none" {
			b.ReportMetric(float64(m)/float64(base), fmt.Sprintf("%s/none", mode))
		}
	}
	b.ReportMetric(0, "ns/op") // an op is a round of all modes: it says nothing
}

func round(rec *profiler.Recorder, track *profiler.Track, mode string, step stepper) (d []time.Duration, err error) {
	t := track
	switch mode {
	case "none":
		t = nil
	case "flight":
		if err := rec.FlightStart(profiler.FlightOptions{RecordShapes: true, WithFLOPs: true}); err != nil {
			return nil, err
		}
		defer rec.FlightStop()
	case "recording":
		if err := rec.Start(profiler.StartOptions{Out: io.Discard, RecordShapes: true, WithFLOPs: true}); err != nil {
			return nil, err
		}
		defer rec.Stop()
	}
	for range roundSteps {
		begin := time.Now()
		if err := step(t); err != nil {
			return nil, err
		}
		d = append(d, time.Since(begin))
	}
	return d, nil
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}
