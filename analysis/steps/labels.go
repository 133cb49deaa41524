package steps

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// label is what a slice's name says about a step.
type label struct {
	method   Method
	kind     Kind
	skip     bool // looks like a step and is none
	rank     int  // of labels of one method, only those of the highest rank found count
	batch    int
	prefills int
	tokens   int
	atEnd    bool // marks the end of a step and not its whole length
}

var nativeKinds = map[string]Kind{
	trace.NamePrefill: Prefill, trace.NameDecodeStep: Decode, trace.NameTextEncode: TextEncode,
	trace.NameDenoiseStep: Denoise, trace.NameVAEDecode: VAEDecode, trace.NameVocode: Vocode,
}

// The labels of the engines. vLLM writes the number of sequences and, in brackets,
// their tokens and sums over them, in several forms over the years; all have the
// tokens first: "888_788544", "sq32sk55086…".
var (
	vllmLabel    = regexp.MustCompile(`^execute_(?:(\d+)_)?context_(\d+)\((?:sq)?(\d*)[^)]*\)_generation_(\d+)\((?:sq)?(\d*)[^)]*\)`)
	vllmCapture  = regexp.MustCompile(`^capture_\d+_`)
	sglangLabel  = regexp.MustCompile(`^step\[([A-Z_]+)(?:\s+bs=(\d+))?(?:\s+toks=(\d+))?[^\]]*\]`)
	profilerStep = regexp.MustCompile(`^ProfilerStep#?\d+`)
	// diffusers: a step ends with the scheduler's; without stacks of Python the denoiser
	// module is the step.
	schedulerStep = regexp.MustCompile(`schedulers/scheduling_\w+\.py\(\d+\): step$`)
	denoiser      = regexp.MustCompile(`^nn\.Module: \w*(?:UNet\w*|Transformer[23]D\w*|DiT\w*)_\d+$`)
	textEncoder   = regexp.MustCompile(`^nn\.Module: (?:CLIPText\w*|T5Encoder\w*|Qwen\w*TextEncoder\w*)_\d+$`)
	vaeDecoder    = regexp.MustCompile(`^nn\.Module: (?:AutoencoderKL\w*|AutoencoderTiny|VaeDecoder|Decoder)_\d+$`)
)

// parseLabel reads one name; ok is false if it is no label of a step.
func parseLabel(name string, cat trace.Category) (l label, ok bool) {
	switch cat {
	case trace.CatPythonFunction:
		return frameLabel(name)
	case trace.CatCPUOp: // ProfilerStep in files of 2021
		return label{method: ByProfilerStep}, strings.HasPrefix(name, "ProfilerStep") && profilerStep.MatchString(name)
	}
	if k, ok := nativeKinds[name]; ok {
		return label{method: ByNative, kind: k}, true
	}
	switch {
	case strings.HasPrefix(name, "execute_"):
		return vllm(name)
	case strings.HasPrefix(name, "capture_"):
		return label{method: ByVLLM, skip: true}, vllmCapture.MatchString(name)
	case strings.HasPrefix(name, "step["):
		return sglang(name)
	case strings.HasPrefix(name, "diffusion_step"):
		return label{method: ByOmni, kind: Denoise}, true
	case strings.HasPrefix(name, "diffusion_forward"):
		return label{method: ByOmniForward, kind: Generation}, true
	case strings.HasPrefix(name, "ProfilerStep"):
		return label{method: ByProfilerStep}, profilerStep.MatchString(name)
	}
	return label{}, false
}

func frameLabel(name string) (label, bool) {
	switch {
	case !strings.HasPrefix(name, "nn.Module: "):
		if strings.HasSuffix(name, ": step") && schedulerStep.MatchString(name) {
			return label{method: ByDiffusers, kind: Denoise, atEnd: true, rank: 1}, true
		}
	case denoiser.MatchString(name):
		return label{method: ByDiffusers, kind: Denoise}, true
	case textEncoder.MatchString(name):
		return label{method: ByDiffusers, kind: TextEncode, rank: anyRank}, true
	case vaeDecoder.MatchString(name):
		return label{method: ByDiffusers, kind: VAEDecode, rank: anyRank}, true
	}
	return label{}, false
}

// anyRank labels count whatever rank the denoise steps of their method have.
const anyRank = -1

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // absent, or more than a step can have
	}
	return n
}

func vllm(name string) (label, bool) {
	m := vllmLabel.FindStringSubmatch(name)
	if m == nil {
		return label{}, false
	}
	ctx, gen := number(m[2]), number(m[4])
	l := label{method: ByVLLM, batch: ctx + gen, prefills: ctx, tokens: number(m[3]) + number(m[5])}
	if n := number(m[1]); n > 0 {
		l.tokens = n
	}
	// The old form leaves the decode tokens at 0: one a sequence.
	if number(m[5]) == 0 && m[1] == "" {
		l.tokens += gen
	}
	switch {
	case ctx > 0 && gen > 0:
		l.kind = Mixed
	case ctx > 0:
		l.kind = Prefill
	case gen > 0:
		l.kind = Decode
	default:
		l.skip = true
	}
	return l, true
}

func sglang(name string) (label, bool) {
	m := sglangLabel.FindStringSubmatch(name)
	if m == nil {
		return label{}, false
	}
	l := label{method: BySGLang, batch: number(m[2]), tokens: number(m[3])}
	switch {
	case strings.Contains(m[1], "MIXED"):
		l.kind = Mixed
	case strings.Contains(m[1], "EXTEND"), strings.Contains(m[1], "PREFILL"):
		l.kind, l.prefills = Prefill, l.batch
	case strings.Contains(m[1], "DECODE"), strings.Contains(m[1], "VERIFY"):
		l.kind = Decode
	case strings.Contains(m[1], "IDLE"):
		l.skip = true
	}
	return l, true
}

// methodOrder is the order in which methods are preferred: what says most first.
var methodOrder = []Method{ByNative, ByVLLM, BySGLang, ByOmni, ByDiffusers, ByOmniForward, ByProfilerStep}

var methodWords = map[Method]string{
	ByNative: "the engine's own slices", ByVLLM: "vLLM's execute_… labels", BySGLang: "SGLang's step[…] labels",
	ByOmni: "vLLM-Omni's diffusion_step labels", ByOmniForward: "vLLM-Omni's diffusion_forward labels, each a whole generation", ByDiffusers: "frames of diffusers' pipelines", ByProfilerStep: "ProfilerStep labels",
}

// labelled is a slice with a label.
type labelled struct {
	slice int
	label
	start, end int64
}

// stretchEnds gives labels their times. A label that marks an end begins with the
// first label of a lower rank after the end before it, the denoiser's call, or else
// with that end.
func stretchEnds(t *trace.Trace, l []labelled) {
	s := &t.Slices
	slices.SortStableFunc(l, func(a, b labelled) int { return cmp.Compare(s.Start[a.slice], s.Start[b.slice]) })
	begin, have := int64(0), false
	for i := range l {
		x := &l[i]
		x.start, x.end = s.Start[x.slice], s.End(x.slice)
		switch {
		case !x.atEnd && x.rank >= 0 && !have:
			begin, have = x.start, true
		case x.atEnd && have:
			x.start = min(begin, x.start)
			have = false
		case x.atEnd && begin > 0:
			x.start = begin
		}
		if x.atEnd {
			if !have {
				begin = x.end
			}
		}
	}
}

// byLabel finds the steps of the preferred method among slices that want says.
func byLabel(t *trace.Trace, want func(i int) bool) (found []labelled, skipped int) {
	type parsed struct {
		label
		known, ok bool
	}
	s := &t.Slices
	// Names of frames, operators and annotations could be equal: three caches.
	var cache [3][]parsed
	for i := range cache {
		cache[i] = make([]parsed, t.Strings.Len())
	}
	all := map[Method][]labelled{}
	for i := range s.Start {
		if !want(i) {
			continue
		}
		of := 0
		switch s.Cat[i] {
		case trace.CatPythonFunction:
			of = 1
		case trace.CatCPUOp:
			of = 2
		}
		p := &cache[of][s.Name[i]]
		if !p.known {
			p.label, p.ok = parseLabel(t.String(s.Name[i]), s.Cat[i])
			p.known = true
		}
		if p.ok {
			all[p.method] = append(all[p.method], labelled{slice: i, label: p.label})
		}
	}
	for _, m := range methodOrder {
		l := all[m]
		usable := 0
		best := anyRank
		for _, x := range l {
			if !x.skip {
				usable++
				best = max(best, x.rank)
			}
		}
		if usable == 0 {
			skipped += len(l)
			continue
		}
		stretchEnds(t, l)
		l = slices.DeleteFunc(l, func(x labelled) bool {
			if x.skip {
				skipped++
			}
			return x.skip || x.rank != best && x.rank != anyRank
		})
		return outermost(t, l), skipped
	}
	return nil, skipped
}

// outermost drops labels inside another label of the same track and sorts by start.
func outermost(t *trace.Trace, l []labelled) []labelled {
	track := t.Slices.Track
	slices.SortStableFunc(l, func(a, b labelled) int {
		return cmp.Or(cmp.Compare(track[a.slice], track[b.slice]), cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end))
	})
	out := l[:0]
	for _, x := range l {
		if n := len(out); n > 0 && track[out[n-1].slice] == track[x.slice] && x.end <= out[n-1].end {
			continue
		}
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b labelled) int { return cmp.Compare(a.start, b.start) })
	return out
}
