// Package label reads the labels with which engines mark their steps: the native engine's slices,
// annotations of vLLM, SGLang, TensorRT-LLM, ATOM and vLLM-Omni, frames of diffusers and of
// SGLang's and vLLM's model runners, ProfilerStep and JAX's annotations. Engines change their labels from release to
// release, so the package looks for the words and numbers in a label rather than for a fixed text.
package label

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Kind is what a step computes.
type Kind uint8

// The kinds of step.
const (
	Unknown    Kind = iota // a step; nothing more is known
	Prefill                // prompts
	Decode                 // one token a sequence, or a few that a draft model proposed
	Mixed                  // both in one batch
	Denoise                // one time step of diffusion
	TextEncode             // prompt to embedding, in diffusion
	VAEDecode              // latent to image
	Vocode                 // codec frames to samples
	Generation             // a whole request of diffusion, all its denoise steps
	Training               // a step of training: ProfilerStep around a backward pass, an annotation that says so
	NumKinds
)

var kindNames = enum.Of[Kind]("kind of step", "step", "prefill", "decode", "mixed", "denoise", "text_encode",
	"vae_decode", "vocode", "generation", "training")

// String returns the kind's name; "step" if nothing is known.
func (k Kind) String() string { return kindNames.Text(k) }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return kindNames.Marshal(k) }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(text []byte) error { return kindNames.Unmarshal(k, text) }

// Method names the source of labels, by the engine that writes them.
type Method string

// The methods by label.
const (
	Native       Method = "native"            // trace.NamePrefill and its like
	VLLM         Method = "vllm"              // execute_…context_…generation_…, execute_model: N reqs, M toks
	SGLang       Method = "sglang"            // step[DECODE bs=…]
	TRTLLM       Method = "tensorrt_llm"      // [Executor] _forward_step 3: 0 ctx reqs, … 4 gen reqs
	ATOM         Method = "atom"              // decode[bs=4 tok=4 d=4]
	Omni         Method = "vllm_omni"         // diffusion_step
	OmniForward  Method = "vllm_omni_forward" // diffusion_forward, a whole generation
	Diffusers    Method = "diffusers"         // frames of a scheduler or a denoiser
	Runner       Method = "model_runner"      // frames of an engine's model runner
	ProfilerStep Method = "profiler_step"     // ProfilerStep#N
	StepTrace    Method = "step_trace"        // JAX's StepTraceAnnotation, whatever its name
)

// order is the order in which methods are preferred: the labels that say most come first.
var order = []Method{Native, VLLM, SGLang, TRTLLM, ATOM, Omni, Diffusers, OmniForward, ProfilerStep, StepTrace,
	Runner}

var words = map[Method]string{
	Native: "the engine's own slices", VLLM: "vLLM's execute_… labels", SGLang: "SGLang's step[…] labels",
	TRTLLM: "TensorRT-LLM's _forward_step labels", ATOM: "ATOM's prefill[…] and decode[…] labels",
	Omni:        "vLLM-Omni's diffusion_step labels",
	OmniForward: "vLLM-Omni's diffusion_forward labels, each a whole generation",
	Diffusers:   "frames of diffusers' pipelines", ProfilerStep: "ProfilerStep labels",
	StepTrace: "annotations with step_num, as JAX's StepTraceAnnotation",
	Runner:    "frames of the engine's model runner",
}

// Words describe the method's labels for people.
func (m Method) Words() string { return words[m] }

// Label is what a slice's name says about a step.
type Label struct {
	Method   Method
	Kind     Kind
	Skip     bool // looks like a step but is not one
	Batch    int  // sequences
	Prefills int  // sequences in prefill
	Tokens   int  // that the step computes; 0 if the label does not say

	rank  int  // of labels of one method, only those of the highest rank found count
	atEnd bool // marks only the end of a step
	spec  part // of a step of speculative decoding
}

// part is what a pass of a model does in speculative decoding: a draft model proposes tokens, the
// model itself verifies them, the draft model takes in what was accepted.
type part uint8

const (
	noPart part = iota
	decodes
	verifies
	extendsDraft
	wholeRound // all of it
)

// anyRank marks labels that count whatever the rank of the denoise steps of their method is.
const anyRank = -1

var nativeKinds = map[string]Kind{
	trace.NamePrefill: Prefill, trace.NameDecodeStep: Decode, trace.NameTextEncode: TextEncode,
	trace.NameDenoiseStep: Denoise, trace.NameVAEDecode: VAEDecode, trace.NameVocode: Vocode,
}

// The labels of the engines.
var (
	// "execute_2_prefills_3_decodes"
	vllmBehind  = regexp.MustCompile(`_(\d+)_(prefill|decode)s`)
	vllmCapture = regexp.MustCompile(`^capture_\d+_`)
	// vLLM on TPUs writes "execute_model: 8 reqs, 512 toks", without what is prefill and what decode.
	vllmWhole = regexp.MustCompile(`(?:^|[_ :])(?:num_)?(reqs|toks|tokens)[_=: ]+(\d+)|(\d+)[ _](reqs|toks|tokens)\b`)
	// SGLang writes its forward mode, the batch, the tokens and, with detailed annotations,
	// the requests in context and in generation.
	sglangLabel = regexp.MustCompile(`^step\[([A-Za-z_0-9]+)([^\]]*)\]`)
	sglangPart  = regexp.MustCompile(`\b(bs|toks|c|g|c_sq|g_sq)=(\d+)`)
	// The names of its forward modes alone, and what its draft model does.
	sglangMode = regexp.MustCompile(
		`^(?:forward_((?:split_)?prefill|extend|decode|mixed|idle|target_verify|draft_extend\w*)|(draft_extend\w*|target_verify))(?:[ (\[:].*)?$`)
	// ATOM writes "decode[bs=117/128 tok=117 p=0 d=117]": the batch, padded to that of a graph, its
	// tokens, sequences in prefill and in decode.
	atomLabel = regexp.MustCompile(`^(dummy_)?(?:eager_)?(prefill|decode|mixed)\[bs=`)
	atomPart  = regexp.MustCompile(`\b(bs|tok|p|d)=(\d+)`)
	// TensorRT-LLM writes "1 ctx reqs, 512 ctx tokens, 0 gen reqs".
	trtPart = regexp.MustCompile(`(\d+) (ctx|context|gen|generation) (req|tok)`)
	// trtEither tells labels of another name that have both.
	trtEither = regexp.MustCompile(`\d (?:ctx|context) req.*\d (?:gen|generation) req`)
	// "num_ctx_requests=1"
	trtKeyed = regexp.MustCompile(`\b(?:num_)?(ctx|context|gen|generation)_(req|tok)\w*\s*[=:]\s*(\d+)`)
	// diffusers: a step ends with the scheduler's; without stacks of Python the denoiser
	// module is the step.
	schedulerStep = regexp.MustCompile(`schedulers/scheduling_\w+\.py\(\d+\): step$`)
	// SGLang's and vLLM's model runners, where only stacks of Python were recorded: a graph's
	// replay is a decode step, a piecewise one is not.
	sglangFrame = regexp.MustCompile(
		`model_executor/(?:runner/)?(model_runner|(?:\w+_)?graph_runner)\.py\(\d+\): (forward_\w+|replay|execute)$`)
	// A round of SGLang's speculative decoding (EAGLE and others), all its passes in it.
	specFrame = regexp.MustCompile(
		`speculative/(?:\w+/)?\w*worker\w*\.py\(\d+\): (forward_batch_generation|forward_batch_speculative_generation|verify)$`)
	vllmFrame   = regexp.MustCompile(`v1/worker/(?:\w+/)?(?:\w+_)?model_runner\.py\(\d+\): execute_model$`)
	denoiser    = regexp.MustCompile(`^nn\.Module: \w*(?:UNet\w*|Transformer[23]D\w*|DiT\w*)_\d+$`)
	textEncoder = regexp.MustCompile(`^nn\.Module: (?:CLIPText\w*|T5Encoder\w*|Qwen\w*TextEncoder\w*)_\d+$`)
	vaeDecoder  = regexp.MustCompile(`^nn\.Module: (?:AutoencoderKL\w*|AutoencoderTiny|VaeDecoder|Decoder)_\d+$`)
)

// Parse reads the name of a slice; ok is false if it is no label of a step.
func Parse(name string, cat trace.Category) (l Label, ok bool) {
	switch {
	case cat == trace.CatPythonFunction:
		return frame(name)
	case strings.HasPrefix(name, trace.ProfilerStep):
		return Label{Method: ProfilerStep}, trace.IsProfilerStep(name)
	}
	if k, ok := nativeKinds[name]; ok {
		return Label{Method: Native, Kind: k}, cat != trace.CatCPUOp // an operator of that name is none
	}
	return Engine(name)
}

// Numbered reads the label of slice i if it is an annotation with its number as a step, whatever its name, which
// [Parse] reads: others of that name may have none.
func Numbered(t *trace.Trace, i int) (l Label, ok bool) {
	if t.Slices.Cat[i] != trace.CatUserAnnotation {
		return Label{}, false
	}
	if _, ok := t.ArgInt(i, trace.ArgStepNumber); !ok {
		return Label{}, false
	}
	return Label{Method: StepTrace, Kind: statedKind(t.String(t.Slices.Name[i]))}, true
}

// statedKind is the kind that the name of a program's own step says.
func statedKind(name string) Kind {
	name = strings.ToLower(name)
	switch {
	case strings.HasPrefix(name, "train"):
		return Training
	case strings.HasPrefix(name, "prefill"):
		return Prefill
	case strings.HasPrefix(name, "decode"):
		return Decode
	}
	return Unknown
}

// Engine reads a label of a serving engine.
func Engine(name string) (l Label, ok bool) {
	switch {
	case strings.HasPrefix(name, "execute_"):
		return vllm(name)
	case strings.HasPrefix(name, "capture_"):
		return Label{Method: VLLM, Skip: true}, vllmCapture.MatchString(name)
	case strings.HasPrefix(name, "step["):
		return sglang(name)
	case strings.Contains(name, "[bs="):
		return atom(name)
	case strings.HasPrefix(name, "diffusion_step"):
		return Label{Method: Omni, Kind: Denoise}, true
	case strings.HasPrefix(name, "diffusion_forward"):
		return Label{Method: OmniForward, Kind: Generation}, true
	case strings.Contains(name, "forward_step"), strings.Contains(name, " req") && trtEither.MatchString(name):
		return trtllm(name)
	case strings.HasPrefix(name, "forward_"), strings.HasPrefix(name, "draft_extend"),
		strings.HasPrefix(name, "target_verify"):
		return sglang(name)
	}
	return Label{}, false
}

func frame(name string) (Label, bool) {
	switch {
	case !strings.HasPrefix(name, "nn.Module: "):
		if strings.HasSuffix(name, ": step") && schedulerStep.MatchString(name) {
			return Label{Method: Diffusers, Kind: Denoise, atEnd: true, rank: 1}, true
		}
		return runnerFrame(name)
	case denoiser.MatchString(name):
		return Label{Method: Diffusers, Kind: Denoise}, true
	case textEncoder.MatchString(name):
		return Label{Method: Diffusers, Kind: TextEncode, rank: anyRank}, true
	case vaeDecoder.MatchString(name):
		return Label{Method: Diffusers, Kind: VAEDecode, rank: anyRank}, true
	}
	return Label{}, false
}

// runnerFrame reads a frame of an engine's model runner.
func runnerFrame(name string) (Label, bool) {
	if strings.HasSuffix(name, ": execute_model") {
		return Label{Method: Runner}, vllmFrame.MatchString(name)
	}
	if m := specFrame.FindStringSubmatch(name); m != nil {
		if m[1] == "verify" {
			return Label{Method: Runner, Kind: Decode, spec: verifies}, true
		}
		return Label{Method: Runner, rank: 1, spec: wholeRound}, true
	}
	m := sglangFrame.FindStringSubmatch(name)
	switch {
	case m == nil:
		return Label{}, false
	case m[1] == "model_runner":
		l, ok := sglang(m[2])
		l.Method = Runner
		return l, ok
	case strings.HasPrefix(m[2], "forward_"):
		return Label{}, false
	case strings.HasPrefix(m[1], "piecewise"), strings.HasPrefix(m[1], "prefill"):
		return Label{Method: Runner, Kind: Prefill}, true
	}
	return Label{Method: Runner, Kind: Decode}, true
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // absent, or more than a step can have
	}
	return n
}

// typed sets the kind of a step of a language model by its sequences in prefill and decode.
func (l *Label) typed(prefills, decodes int) {
	l.Batch, l.Prefills = prefills+decodes, prefills
	switch {
	case prefills > 0 && decodes > 0:
		l.Kind = Mixed
	case prefills > 0:
		l.Kind = Prefill
	case decodes > 0:
		l.Kind = Decode
	default:
		l.Skip = true
	}
}

func vllm(name string) (Label, bool) {
	rest := strings.TrimPrefix(name, "execute")
	parts := vllmParts(rest)
	counted := len(parts) > 0 // a number at the beginning is of tokens
	if !counted {
		for _, m := range vllmBehind.FindAllStringSubmatch(rest, -1) {
			parts = append(parts, vllmPart{m[2], m[1], ""})
		}
	}
	if len(parts) == 0 {
		return vllmWithoutSplit(name)
	}
	l := Label{Method: VLLM}
	prefills, decodes, decodeTokens, tokensKnown := 0, 0, 0, false
	for _, p := range parts {
		switch p.word {
		case "context", "ctx", "new", "prefill":
			prefills += number(p.seqs)
			l.Tokens += number(p.tokens)
			tokensKnown = tokensKnown || p.tokens != ""
		default:
			decodes += number(p.seqs)
			decodeTokens += number(p.tokens)
		}
	}
	l.typed(prefills, decodes)
	total := digits(strings.TrimPrefix(rest, "_"))
	switch {
	case counted && total != "" && strings.HasPrefix(rest, "_"+total+"_"):
		l.Tokens = number(total)
	case decodeTokens > 0:
		l.Tokens += decodeTokens
	case tokensKnown || prefills == 0:
		l.Tokens += decodes // older forms leave the decode tokens at 0: one a sequence
	}
	return l, true
}

// vllmWithoutSplit reads a label that has requests and tokens but does not say how many are in
// prefill. One token for each request is decode; more may be prompts or tokens that a draft model
// proposed.
func vllmWithoutSplit(name string) (Label, bool) {
	l := Label{Method: VLLM}
	found := false
	for _, m := range vllmWhole.FindAllStringSubmatch(strings.TrimPrefix(name, "execute"), -1) {
		what, n := m[1]+m[4], number(m[2]+m[3])
		if what == "reqs" {
			l.Batch, found = n, true
		} else {
			l.Tokens = n
		}
	}
	switch {
	case l.Batch == 0:
		l.Skip = found
	case l.Tokens == l.Batch:
		l.Kind = Decode
	}
	return l, found
}

func atom(name string) (Label, bool) {
	m := atomLabel.FindStringSubmatch(name)
	if m == nil {
		return Label{}, false
	}
	l := Label{Method: ATOM, Skip: m[1] != ""}
	prefills, decodes := 0, 0
	for _, p := range atomPart.FindAllStringSubmatch(name, -1) {
		switch n := number(p[2]); p[1] {
		case "bs":
			l.Batch = n
		case "tok":
			l.Tokens = n
		case "p":
			prefills = n
		case "d":
			decodes = n
		}
	}
	switch {
	case m[2] == "mixed", prefills > 0 && decodes > 0:
		l.Kind, l.Prefills = Mixed, prefills
	case m[2] == "prefill":
		l.Kind, l.Prefills = Prefill, l.Batch
	default:
		l.Kind = Decode
	}
	return l, true
}

// decodeModes are SGLang's forward modes that decode although their names contain EXTEND: the draft
// model processes accepted tokens.
var decodeModes = []string{"DECODE", "VERIFY", "DRAFT"}

func sglang(name string) (Label, bool) {
	m := sglangLabel.FindStringSubmatch(name)
	if m == nil {
		if m = sglangMode.FindStringSubmatch(name); m == nil {
			return Label{}, false
		}
		m[1], m[2] = m[1]+m[2], name
	}
	l := Label{Method: SGLang}
	context, generation, split, detailed := 0, 0, false, 0
	for _, p := range sglangPart.FindAllStringSubmatch(m[2], -1) {
		switch n := number(p[2]); p[1] {
		case "bs":
			l.Batch = n
		case "toks":
			l.Tokens = n
		case "c":
			context, split = n, true
		case "g":
			generation, split = n, true
		case "c_sq", "g_sq":
			detailed += n
		}
	}
	if l.Tokens == 0 {
		l.Tokens = detailed
	}
	mode := strings.ToUpper(m[1])
	contains := func(part string) bool { return strings.Contains(mode, part) }
	switch {
	case contains("IDLE"), contains("DUMMY"):
		l.Skip = true
	case contains("MIXED"):
		l.Kind, l.Prefills = Mixed, context
		switch {
		case split && generation == 0:
			l.Kind = Prefill
		case split && context == 0:
			l.Kind = Decode
		}
	case contains(decodeModes[0]), contains(decodeModes[1]), contains(decodeModes[2]):
		l.Kind = Decode
		switch {
		case contains("VERIFY"):
			l.spec = verifies
		case contains("DRAFT"):
			l.spec = extendsDraft
		default:
			l.spec = decodes
		}
		if l.Tokens == 0 && contains("DECODE") {
			l.Tokens = l.Batch
		}
	case contains("DLLM"): // a diffusion language model takes in prompts and refines blocks alike
	case contains("EXTEND"), contains("PREFILL"):
		l.Kind, l.Prefills = Prefill, l.Batch
		if split && generation > 0 && context > 0 {
			l.Kind, l.Prefills = Mixed, context
		}
	}
	return l, true
}

func trtllm(name string) (Label, bool) {
	l := Label{Method: TRTLLM}
	prefills, decodes, tokens, seen, genTokens := 0, 0, 0, false, false
	parts := trtPart.FindAllStringSubmatch(name, -1)
	for _, m := range trtKeyed.FindAllStringSubmatch(name, -1) {
		parts = append(parts, []string{m[0], m[3], m[1], m[2]})
	}
	for _, m := range parts {
		n, isContext := number(m[1]), m[2][0] == 'c'
		switch {
		case m[3] == "tok":
			tokens += n
			genTokens = genTokens || !isContext
		case isContext:
			prefills, seen = prefills+n, true
		default:
			decodes, seen = decodes+n, true
		}
	}
	if !seen {
		return Label{}, false
	}
	l.typed(prefills, decodes)
	l.Tokens = tokens
	if !genTokens {
		l.Tokens += decodes
	}
	return l, true
}
