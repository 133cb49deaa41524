package load

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/omni"
)

// maxPromptLine bounds a line of a prompt file: the longest prompt that a pipeline
// takes, and JSON's escapes.
const maxPromptLine = 1 << 20

// The usual prompts.
var (
	textPrompts = []string{
		"Explain in two sentences why the sky is blue.",
		"Write a short poem about a train that is always on time.",
		"What should I look at first when a server becomes slow?",
		"Describe the taste of fresh bread to someone who has never had any.",
	}
	imagePrompts = []string{
		"a lighthouse on a cliff at dawn, oil painting",
		"a red bicycle leaning against a white wall",
		"two owls reading a newspaper, ink drawing",
		"a city of glass under a green sky",
	}
)

// promptLine is a line of a prompt file that is a JSON object.
type promptLine struct {
	Prompt         string  `json:"prompt"`
	NegativePrompt string  `json:"negative_prompt"`
	MaxTokens      *int    `json:"max_tokens"`
	Seed           *uint64 `json:"seed"`
	N              int     `json:"n"`
	Size           string  `json:"size"`
	Steps          int     `json:"num_inference_steps"`
	Guidance       float64 `json:"guidance_scale"`
}

func (p promptLine) request() (omni.Request, error) {
	r := omni.Request{
		Messages: []omni.Message{{Role: "user", Content: p.Prompt}},
		Sampling: omni.Sampling{MaxTokens: p.MaxTokens, Seed: p.Seed},
		Image: omni.Image{N: p.N, Steps: p.Steps, Guidance: p.Guidance, NegativePrompt: p.NegativePrompt,
			Seed: p.Seed},
	}
	if p.Size != "" {
		w, h, ok := strings.Cut(p.Size, "x")
		var errs [2]error
		r.Image.Width, errs[0] = strconv.Atoi(w)
		r.Image.Height, errs[1] = strconv.Atoi(h)
		if !ok || errs != [2]error{} {
			return r, fmt.Errorf("size %q: write WIDTHxHEIGHT", p.Size)
		}
	}
	return r, nil
}

// Default is the usual load of a pipeline with these stages: four prompts, for images
// with a batch among them.
func Default(stages []omni.StageInfo) []omni.Request {
	image := slices.ContainsFunc(stages, func(s omni.StageInfo) bool { return s.Output == "image" })
	prompts := textPrompts
	if image {
		prompts = imagePrompts
	}
	out := make([]omni.Request, len(prompts))
	for i, text := range prompts {
		out[i].Messages = []omni.Message{{Role: "user", Content: text}}
		if image && i == 0 {
			out[i].Image.N = 2 // one request that is a batch by itself
		}
	}
	return out
}

// Read reads prompts: one a line, or a JSON object a line. Empty lines are skipped. name
// is the file's, for errors, which name the line too.
func Read(name string, r io.Reader) ([]omni.Request, error) {
	var out []omni.Request
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxPromptLine)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" {
			continue
		}
		p := promptLine{Prompt: line}
		if strings.HasPrefix(line, "{") {
			p = promptLine{}
			dec := json.NewDecoder(strings.NewReader(line))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&p); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
		}
		req, err := p.request()
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		out = append(out, req)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no prompts", name)
	}
	return out, nil
}
