package model

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
)

// SchedulerConfig is scheduler_config.json of a DiT, in diffusers' spelling.
type SchedulerConfig struct {
	ClassName         string  `json:"_class_name"` // FlowMatchEulerDiscreteScheduler or DDIMScheduler
	NumTrainTimesteps int     `json:"num_train_timesteps"`
	Shift             float64 `json:"shift"`            // flow matching; absent: 1
	BetaStart         float64 `json:"beta_start"`       // DDIM; absent: 0.0001
	BetaEnd           float64 `json:"beta_end"`         // DDIM; absent: 0.02
	BetaSchedule      string  `json:"beta_schedule"`    // DDIM: "linear" or "scaled_linear"
	TimestepSpacing   string  `json:"timestep_spacing"` // DDIM: "trailing"
	PredictionType    string  `json:"prediction_type"`  // DDIM: "epsilon"
}

const (
	flowMatching = "FlowMatchEulerDiscreteScheduler"
	ddim         = "DDIMScheduler"
)

func (c *SchedulerConfig) defaults() {
	c.ClassName = orDefault(c.ClassName, flowMatching)
	c.NumTrainTimesteps = orDefault(c.NumTrainTimesteps, MaxDenoiseSteps)
	c.Shift = orDefault(c.Shift, 1)
	c.BetaStart = orDefault(c.BetaStart, 0.0001)
	c.BetaEnd = orDefault(c.BetaEnd, 0.02)
	c.BetaSchedule = orDefault(c.BetaSchedule, "linear")
	c.TimestepSpacing = orDefault(c.TimestepSpacing, "trailing")
	c.PredictionType = orDefault(c.PredictionType, "epsilon")
}

func (c *SchedulerConfig) check(k *checker, _ int) {
	k.that(c.ClassName == flowMatching || c.ClassName == ddim, "_class_name", "%q: want %q or %q", c.ClassName,
		flowMatching, ddim)
	k.within("num_train_timesteps", c.NumTrainTimesteps, MaxDenoiseSteps)
	k.positive("shift", c.Shift)
	k.that(c.BetaStart > 0 && c.BetaStart < c.BetaEnd && c.BetaEnd < 1, "beta_start",
		"%v to beta_end %v: want 0 < start < end < 1", c.BetaStart, c.BetaEnd)
	k.that(c.BetaSchedule == "linear" || c.BetaSchedule == "scaled_linear", "beta_schedule",
		"%q: want \"linear\" or \"scaled_linear\"", c.BetaSchedule)
	k.that(c.TimestepSpacing == "trailing", "timestep_spacing", "%q: want \"trailing\"", c.TimestepSpacing)
	k.that(c.PredictionType == "epsilon", "prediction_type", "%q: want \"epsilon\"", c.PredictionType)
}

// readScheduler reads the schedule beside a DiT's config; without one it is the default.
func readScheduler(fsys fs.FS, dir string) (SchedulerConfig, error) {
	var c SchedulerConfig
	err := readConfig(fsys, dir, SchedulerFile, nil, 1, &c)
	if errors.Is(err, fs.ErrNotExist) {
		c.defaults()
		return c, nil
	}
	return c, err
}

// move is one denoise step: x becomes keep*x + take*prediction. Both samplers are affine
// in what the model predicts.
type move struct {
	time       float64 // timestep that the model is told
	keep, take float64
}

// schedule returns the moves of a whole denoising.
//
// Flow matching (Lipman et al. 2023) with Euler's method: x += (σ'-σ)·v, σ shifted as
// Stable Diffusion 3 does (Esser et al. 2024, eq. 23). DDIM (Song et al. 2021, eq. 12, η=0):
// x' = √ᾱ'·(x-√(1-ᾱ)ε)/√ᾱ + √(1-ᾱ')·ε.
func (c *SchedulerConfig) schedule(steps int) ([]move, error) {
	if steps < 1 || steps > c.NumTrainTimesteps {
		return nil, fmt.Errorf("%d denoise steps, want 1 to %d", steps, c.NumTrainTimesteps)
	}
	train := float64(c.NumTrainTimesteps)
	moves := make([]move, steps)
	if c.ClassName == flowMatching {
		sigma := func(i int) float64 {
			if i == steps {
				return 0
			}
			t := train
			if steps > 1 {
				t = train + (1-train)*float64(i)/float64(steps-1)
			}
			s := t / train
			return c.Shift * s / (1 + (c.Shift-1)*s)
		}
		for i := range moves {
			moves[i] = move{sigma(i) * train, 1, sigma(i+1) - sigma(i)}
		}
		return moves, nil
	}
	alpha := c.alphas()
	at := func(i int) int { // trailing: the last training step first
		return int(math.RoundToEven(train-float64(i)*train/float64(steps))) - 1
	}
	for i := range moves {
		a, prev := alpha[max(0, at(i))], 1.0
		if i+1 < steps {
			prev = alpha[max(0, at(i+1))]
		}
		keep := math.Sqrt(prev / a)
		moves[i] = move{float64(max(0, at(i))), keep, math.Sqrt(1-prev) - keep*math.Sqrt(1-a)}
	}
	return moves, nil
}

// alphas are the cumulative products of 1-β.
func (c *SchedulerConfig) alphas() []float64 {
	out := make([]float64, c.NumTrainTimesteps)
	prod := 1.0
	for i := range out {
		f := 0.0
		if c.NumTrainTimesteps > 1 {
			f = float64(i) / float64(c.NumTrainTimesteps-1)
		}
		beta := c.BetaStart + f*(c.BetaEnd-c.BetaStart)
		if c.BetaSchedule == "scaled_linear" {
			r := math.Sqrt(c.BetaStart) + f*(math.Sqrt(c.BetaEnd)-math.Sqrt(c.BetaStart))
			beta = r * r
		}
		prod *= 1 - beta
		out[i] = prod
	}
	return out
}
