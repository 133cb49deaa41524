package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/omni"
)

// maxPromptLine bounds a line of a prompt file: the longest prompt that a pipeline
// takes, and JSON's escapes.
const maxPromptLine = 1 << 20

// defaultPrompts are what capture sends without --prompts.
var defaultPrompts = map[bool][]string{
	false: {
		"Explain in two sentences why the sky is blue.",
		"Write a short poem about a train that is always on time.",
		"What should I look at first when a server becomes slow?",
		"Describe the taste of fresh bread to someone who has never had any.",
	},
	true: {
		"a lighthouse on a cliff at dawn, oil painting",
		"a red bicycle leaning against a white wall",
		"two owls reading a newspaper, ink drawing",
		"a city of glass under a green sky",
	},
}

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
		Image:    omni.Image{N: p.N, Steps: p.Steps, Guidance: p.Guidance, NegativePrompt: p.NegativePrompt, Seed: p.Seed},
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

// readPrompts reads a prompt file, "-" being stdin: a prompt a line, or a JSON object
// a line. Empty lines are skipped.
func readPrompts(path string, stdin io.Reader) ([]omni.Request, error) {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usageError{err}
		}
		defer f.Close()
		r = f
	}
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
				return nil, usage("%s:%d: %v", path, n, err)
			}
		}
		req, err := p.request()
		if err != nil {
			return nil, usage("%s:%d: %v", path, n, err)
		}
		out = append(out, req)
	}
	if err := sc.Err(); err != nil {
		return nil, usage("%s: %v", path, err)
	}
	if len(out) == 0 {
		return nil, usage("%s: no prompts", path)
	}
	return out, nil
}
