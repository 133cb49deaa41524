package model

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/omni/collective"
)

// Facts are what a model's config says about the requests that the model takes. Fields that do not
// apply to its architecture are 0.
type Facts struct {
	VocabSize    int // llm, text encoder
	MaxPositions int // llm: of prompt and answer together
	SizeMultiple int // dit: of an image's width and height, in pixels
	MaxSize      int // dit: of width or height, in pixels
}

// ErrArchitecture means that this package has no model of the architecture.
var ErrArchitecture = errors.New("no such architecture")

// Architectures are the values of model_arch that this package has a model of.
var Architectures = []string{"llm", "vocoder", "text_encoder", "dit", "vae"}

// Inspect checks whether a model of one of Architectures can be opened by ranks ranks: that its config
// is there and right, and its weights' headers if load_format asks for them. It loads nothing, so that
// what is wrong is known before any process starts.
func Inspect(architecture string, o Options, ranks int) (Facts, error) {
	var c config
	switch architecture {
	case "llm":
		c = new(LLMConfig)
	case "vocoder":
		c = new(VocoderConfig)
	case "text_encoder":
		c = new(TextEncoderConfig)
	case "dit":
		c = new(DiTConfig)
	case "vae":
		c = new(VAEConfig)
	default:
		return Facts{}, fmt.Errorf("model_arch %q: %w: one of %s", architecture,
			ErrArchitecture, strings.Join(Architectures, ", "))
	}
	o.Group = sized{collective.Solo(), ranks}
	m, err := open(context.Background(), nil, o, c)
	if err != nil {
		return Facts{}, err
	}
	if err := m.src.Close(); err != nil {
		return Facts{}, err
	}
	switch c := c.(type) {
	case *LLMConfig:
		return Facts{VocabSize: c.VocabSize, MaxPositions: c.MaxPositionEmbeddings}, nil
	case *TextEncoderConfig:
		return Facts{VocabSize: c.VocabSize}, nil
	case *DiTConfig:
		return Facts{SizeMultiple: c.sizeMultiple(), MaxSize: c.maxSize()}, nil
	}
	return Facts{}, nil
}

// sized is a group that only knows its size, for checks before there are ranks.
type sized struct {
	collective.Group
	ranks int
}

func (s sized) Size() int { return s.ranks }
