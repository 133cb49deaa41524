package worker

import (
	"context"
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/omni/model"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// openers load the model of a stage, by its model_arch.
var openers = map[string]func(context.Context, *stage) (runner, error){
	"llm":          openLLM,
	"vocoder":      openVocoder,
	"text_encoder": openTextEncoder,
	"dit":          openDiT,
	"vae":          openVAE,
}

func openRunner(ctx context.Context, s *stage) (runner, error) {
	open, ok := openers[s.cfg.Architecture]
	if !ok {
		return nil, fmt.Errorf("model_arch %q: one of %s", s.cfg.Architecture, strings.Join(model.Architectures, ", "))
	}
	return open(ctx, s)
}

// loaded is what a runner has whatever its model is.
type loaded[M interface {
	ReportMemory(t *profiler.Track)
	Close(t *profiler.Track) error
}] struct{ m M }

func (l *loaded[M]) report(t *profiler.Track) { l.m.ReportMemory(t) }

func (l *loaded[M]) close(t *profiler.Track) error { return l.m.Close(t) }

// modelOptions says which model the rank opens and which part of it the rank holds.
func (s *stage) modelOptions() model.Options {
	blocks := s.cfg.NumKVBlocks * s.cfg.BlockSize / model.BlockSize
	return model.Options{
		Model: s.cfg.Model, LoadFormat: s.cfg.LoadFormat, Seed: s.cfg.Seed, Group: s.group,
		KVBlocks: max(1, blocks), MaxStepTokens: s.cfg.MaxNumBatchedTokens,
	}
}
