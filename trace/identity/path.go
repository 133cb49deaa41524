package identity

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Hints are what the path of a trace tells of it.
type Hints struct {
	StageID int // -1 if unknown
	Stage   string
	Replica int // -1 if unknown
	Rank    int // -1 if unknown
	Host    string
	Part    int // number of a file that holds a part of the rank's trace; -1 if it is whole
	Merged  bool
	trace.Identity
}

// dirLevels is how many directories above a file may tell what it is: a capture, a
// stage, a rank, and what a writer lays around its files.
const dirLevels = 4

// FromPath reads the names of a file and of the directories that it lies in, the
// nearest first. It knows the layouts of
//
//   - this project: stage0_thinker/trace_rank0.json.gz, stage2_replica0_rank0.ksrec
//   - vLLM-Omni: <time>_stage_0_llm_<id>/trace_rank0.json, stage_0_llm_<id>/…,
//     stage_0_diffusion_<id>_rank0.json, <time>_stage0_rank1_<id>/…, diffusion_rank1_<id>/…
//   - vLLM: [<prefix>_]dp0_pp0_tp0_dcp0_ep0_rank3.<ns>.pt.trace.json.gz, <id>-rank-3.<ns>…,
//     <host>_<pid>.async_llm.<ns>…
//   - SGLang: [<prefix>-]<id>-TP-0[-DP-0][-PP-0][-EP-0][-EXTEND|-DECODE].trace.json.gz
//   - SGLang-Omni: <run>_<stage>_pid<pid>_rank<rank>.trace.json, whatever its stages are called
//   - servers that part prefill from decode: prefill_worker_0/…, decode-1/…, or the same words
//     before ranks in names of files
//   - torchtitan: iteration_10/rank0_trace.json; Megatron: rank-0.json.gz, rank[0].json
//   - HTA: rank-34.Jul_15_10_52_41.1074.pt.trace.json.gz
//   - torch.profiler's tensorboard_trace_handler: <host>_<pid>.<ns>.pt.trace.json
//   - torch_npu: <worker>_<pid>_<time>_ascend_pt, where <worker> is any of the above
//
// and of whoever writes rank, worker, gpu, node, stage or replica with a number.
func FromPath(path string) Hints {
	h := Hints{StageID: -1, Replica: -1, Rank: -1, Part: -1}
	h.Learnt = map[trace.Field]trace.From{}
	names := segments(path)
	for i, name := range names {
		from := trace.FromDir
		if i == 0 {
			from = trace.FromFile
		}
		h.segment(name, from)
		if n, ok := number(rankDir, name, 1); ok && i > 0 && localFile.MatchString(names[0]) {
			h.Rank, h.Learnt[trace.FieldRank] = n, from
		}
	}
	if len(names) > 0 {
		h.file(names[0])
		h.dirs(names[1:])
		h.Capture = captureOf(names)
	}
	return h
}

// segments returns the file's name and those of its directories, the nearest first, whichever way
// their separators lean: archives keep those of the system that packed them. What torch_npu puts
// between its directory and the file says nothing.
func segments(path string) []string {
	var out []string
	for p := strings.ReplaceAll(path, `\`, "/"); len(out) <= dirLevels; {
		p = strings.TrimRight(p, "/")
		k := strings.LastIndexByte(p, '/')
		switch name := p[k+1:]; name {
		case "", ".", "..", "ASCEND_PROFILER_OUTPUT", "trace_view.json":
		default:
			out = append(out, name)
		}
		if k < 0 {
			break
		}
		p = p[:k]
	}
	return out
}

// The patterns of numbers in names. A word counts only where it begins: "local_rank3"
// is not a rank of the job, "page1" no stage.
var (
	rankPattern   = regexp.MustCompile(`(?i)(?:^|[^a-z])(local[-_. ]?)?rank[-_. =:]?[\[(]?(\d{1,6})(?:[^\d]|$)`)
	workerPattern = regexp.MustCompile(
		`(?i)(?:^|[^a-z])(?:worker|gpu|device|card|process|proc)[-_]?[\[(]?(\d{1,5})(?:[^\d]|$)`)
	workerDir      = regexp.MustCompile(`(?i)^(?:worker|gpu|npu|device|card|process|proc)[-_]?\[?(\d{1,5})\]?$`)
	stagePattern   = regexp.MustCompile(`(?i)(?:^|[^a-z])stage[-_. ]?(\d{1,4})(?:[^\d]|$)`)
	replicaPattern = regexp.MustCompile(`(?i)(?:^|[^a-z])(?:replica|instance|engine)[-_. ]?(\d{1,4})(?:[^\d]|$)`)
	nodePattern    = regexp.MustCompile(`(?i)^(?:node|host|machine)[-_]?[a-z0-9][-.a-z0-9]*$`)
	placePattern   = regexp.MustCompile(
		`(?i)(?:^|[-_.\[( ])(tp|pp|dp|ep|dcp|pcp|cp|sp|moe_ep|attn_tp|attn_dp)[-_]?(\d{1,5})(?:[^\d]|$)`)
	phasePattern = regexp.MustCompile(
		`(?:^|[-_.])(EXTEND|DECODE|PREFILL|MIXED|IDLE|TARGET_VERIFY|DRAFT_EXTEND|DLLM_EXTEND)(?:[-_.]|$)`)
	// What vLLM and SGLang record while they capture graphs.
	capturePattern = regexp.MustCompile(`(?i)^(?:capture_traces$|(?:cuda_|hip_|npu_)?graph_capture)`)
	// SGLang's second profiler writes phases in small letters behind the places.
	phaseBehind = regexp.MustCompile(`(?i)-tp-\d+(?:-(?:dp|pp|ep)-\d+)*-(extend|decode|prefill|mixed)(?:[-.]|$)`)
	// vLLM-Omni has a directory a rank, named by the rank in its stage, and files in it that are
	// named by the rank on its host.
	rankDir = regexp.MustCompile(
		`(?i)(?:^|_)(?:stage_?\d+(?:_[a-z]+)?(?:_replica_?\d+)?|diffusion)_rank_?(\d{1,6})(?:_|$)`)
	localFile = regexp.MustCompile(`(?i)^trace_rank\d+\.json`)
	// A stage of SGLang-Omni stands between the run and the process.
	omniStage = regexp.MustCompile(`^(.+)[-_]pid\d+_rank\d+\.`)
	// What a worker of a server does that parts prefill from decode, and which of them it is: at a
	// name's beginning, with a word for a worker behind it, or at the end of a directory's name.
	workerRoles = []*regexp.Regexp{
		regexp.MustCompile(`^[0-9_-]*` + roleWord + workerWord + `?` + roleNumber + `(?:[^a-z0-9]|$)`),
		regexp.MustCompile(`(?:^|[-_.])` + roleWord + workerWord + roleNumber + `(?:[-_.]|$)`),
		regexp.MustCompile(`[-_.]` + roleWord + roleNumber + `$`),
	}
	partPattern  = regexp.MustCompile(`(?i)\.part(\d+)\.`)
	hostPID      = regexp.MustCompile(`^(.+?)_(\d{1,8})(?:\.async_llm)?\.\d{10,20}\.`)
	npuHostPID   = regexp.MustCompile(`^(.+?)_(\d{1,8})_\d{14,20}_ascend_pt$`)
	frontPattern = regexp.MustCompile(`(?i)(?:^|[-_.])(async_llm|api_server|apiserver|front_?end|tokenizer_manager|detokenizer|engine_core|scheduler|orchestrator|router)(?:[-_.]|$)`)
)

// segment reads from the name of a file or directory what names nearer to the trace have not told.
func (h *Hints) segment(name string, from trace.From) {
	if h.Rank < 0 {
		if n, ok := rankIn(name); ok {
			h.Rank, h.Learnt[trace.FieldRank] = n, from
		}
	}
	if h.StageID < 0 && h.Stage == "" {
		h.stage(name, from)
	}
	if n, ok := number(replicaPattern, name, 1); ok && h.Replica < 0 {
		h.Replica, h.Learnt[trace.FieldReplica] = n, from
	}
	for rest := name; ; {
		f := placePattern.FindStringSubmatchIndex(rest)
		if f == nil {
			break
		}
		kind := strings.ToLower(rest[f[2]:f[3]])
		n, err := strconv.Atoi(rest[f[4]:f[5]])
		if _, has := h.Place[kind]; !has && err == nil {
			if h.Place == nil {
				h.Place = map[string]int{}
			}
			h.Place[kind] = n
		}
		rest = rest[f[5]:]
	}
	if h.Phase == "" {
		if f := phasePattern.FindStringSubmatch(name); f != nil {
			h.Phase, h.Learnt[trace.FieldPhase] = strings.ToLower(f[1]), from
		} else if f := phaseBehind.FindStringSubmatch(name); f != nil {
			h.Phase, h.Learnt[trace.FieldPhase] = strings.ToLower(f[1]), from
		} else if capturePattern.MatchString(name) {
			h.Phase, h.Learnt[trace.FieldPhase] = "graph capture", from
		}
	}
	if h.Role == "" {
		h.role(name, from)
	}
	if h.Host == "" && from == trace.FromDir && nodePattern.MatchString(name) {
		h.Host, h.Learnt[trace.FieldHost] = name, from
	}
}

// rankIn returns the job's rank that a name tells. "local_rank" counts only if there
// is no other.
func rankIn(name string) (int, bool) {
	local, has := 0, false
	for rest := name; ; {
		f := rankPattern.FindStringSubmatchIndex(rest)
		if f == nil {
			return local, has
		}
		n, err := strconv.Atoi(rest[f[4]:f[5]])
		if err == nil && f[2] < 0 {
			return n, true
		}
		if err == nil {
			local, has = n, true
		}
		rest = rest[f[5]:]
	}
}

func number(p *regexp.Regexp, name string, group int) (int, bool) {
	f := p.FindStringSubmatch(name)
	if f == nil {
		return 0, false
	}
	n, err := strconv.Atoi(f[group])
	return n, err == nil
}

// roleNames are the roles of processes that divide a model's work by kind.
var roleNames = map[string]string{"prefill": "prefill", "prefiller": "prefill", "decode": "decode",
	"decoder": "decode", "encode": "encode"}

// stage reads the number and name of a stage: stage0_thinker, stage_1_llm_<id>.
func (h *Hints) stage(name string, from trace.From) {
	if f := stagePattern.FindStringSubmatchIndex(name); f != nil {
		n, err := strconv.Atoi(name[f[2]:f[3]])
		if err == nil {
			h.StageID, h.Stage, h.Learnt[trace.FieldStage] = n, stageText(name[f[3]:]), from
			return
		}
	}
	lower := strings.ToLower(name)
	if f := omniStage.FindStringSubmatch(lower); f != nil && from == trace.FromFile {
		if text := omniText(f[1]); text != "" {
			h.Stage, h.Learnt[trace.FieldStage] = text, from
		}
		return
	}
	for _, s := range protocol.NamedStages { // SGLang-Omni's: <run>_<stage>_pid<pid>_rank<rank>
		if from == trace.FromDir && word(lower, s.Name) || h.Rank >= 0 && protocol.WordAt(lower, s.Name) >= 0 {
			h.Stage, h.Learnt[trace.FieldStage] = s.Name, from
			return
		}
	}
}

// omniText is the stage behind a run's id: "talker_ar" of "bench_talker_ar". It begins with a stage that
// is known by name, else behind the last word with a number; of a run without one it is the last word.
// "" if there is but one word, which is the run's.
func omniText(name string) string {
	for _, s := range protocol.NamedStages {
		if at := protocol.WordAt(name, s.Name); at >= 0 {
			return strings.ReplaceAll(name[at:], "-", "_")
		}
	}
	words := tokens.Split(name, -1)
	for i := len(words) - 2; i >= 0; i-- {
		if strings.ContainsAny(words[i], "0123456789") {
			return strings.Join(words[i+1:], "_")
		}
	}
	if len(words) < 2 {
		return ""
	}
	return words[len(words)-1]
}

// word reports whether w stands in name at its beginning, followed by its end, a number
// or a separator, so that "dit" is not found in "edit".
func word(name, w string) bool {
	name = strings.TrimLeft(name, "0123456789-_")
	rest, ok := strings.CutPrefix(name, w)
	return ok && (rest == "" || !letter(rest[0]))
}

func letter(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }

var (
	stageStop = regexp.MustCompile(`(?i)^(?:\d+|[0-9a-f]*\d[0-9a-f]{5,}|[0-9a-z]*\d[0-9a-z]{15,}|(?:worker|part|local|trace|ascend|pt|json|gz|zst|bz2|xz|lz4|rec|ksrec)\d*)$`)
	// stageSkip are words behind a stage's number that say something else of the trace.
	stageSkip = regexp.MustCompile(`(?i)^(?:rank|replica|instance|engine|tp|pp|dp|ep|dcp|pcp|cp|sp)(\d*)$`)
	tokens    = regexp.MustCompile(`[-_.\[\]]+`)
)

// stageText returns the words after a stage's number up to an id or a suffix, without ranks and
// replicas between them. Types of stages are written in small letters.
func stageText(rest string) string {
	var words []string
	skip := false
	for i, w := range tokens.Split(strings.TrimLeft(rest, "-_. "), -1) {
		if w == "" && i == 0 {
			continue
		}
		_, err := strconv.Atoi(w)
		if skip && err == nil {
			skip = false
			continue
		}
		if f := stageSkip.FindStringSubmatch(w); f != nil {
			skip = f[1] == ""
			continue
		}
		if w == "" || stageStop.MatchString(w) {
			break
		}
		words = append(words, w)
	}
	text := strings.Join(words, "_")
	if lower := strings.ToLower(text); genericStages[lower] {
		return lower
	}
	return text
}

func (h *Hints) role(name string, from trace.From) {
	if f := frontPattern.FindStringSubmatch(name); f != nil && from == trace.FromFile {
		h.Role, h.Learnt[trace.FieldRole] = "front end", from
		switch w := strings.ToLower(f[1]); w {
		case "engine_core", "scheduler", "orchestrator", "router":
			h.Role = strings.ReplaceAll(w, "_", " ")
		}
		return
	}
	if h.Phase != "" || from == trace.FromFile && !placed(name) {
		return
	}
	for _, p := range workerRoles {
		f := p.FindStringSubmatch(name)
		if f == nil {
			continue
		}
		h.Role, h.Learnt[trace.FieldRole] = roleNames[f[1]], from
		if n, err := strconv.Atoi(f[2]); err == nil && h.Replica < 0 {
			h.Replica, h.Learnt[trace.FieldReplica] = n, from
		}
		return
	}
}

// Parts of workerRoles.
const (
	roleWord   = `(prefiller|prefill|decoder|decode|encode)`
	workerWord = `(?:[-_]?(?:worker|server|engine|node|instance|replica|pod))`
	roleNumber = `(?:[-_]?(\d{1,4}))?`
)

// placed reports whether the name of a file says a rank, so that other words in it are of whose it is.
func placed(name string) bool { return rankPattern.MatchString(name) || placePattern.MatchString(name) }

// file takes what only the name of a file tells.
func (h *Hints) file(name string) {
	if n, ok := number(partPattern, name, 1); ok {
		h.Part = n
	}
	h.Merged = strings.HasPrefix(strings.ToLower(name), "merged")
	for _, p := range []*regexp.Regexp{hostPID, npuHostPID} {
		f := p.FindStringSubmatch(name)
		if f == nil || p == hostPID && rankPattern.MatchString(name) {
			continue // "rank_0.<ns>" looks like the host rank with pid 0
		}
		h.PID, _ = strconv.Atoi(f[2])
		if h.Host == "" && len(h.Place) == 0 && !rankPattern.MatchString(f[1]) {
			h.Host, h.Learnt[trace.FieldHost] = f[1], trace.FromFile
		}
	}
	if _, works := roleNames[h.Role]; h.Rank >= 0 || h.Role != "" && !works || h.Merged {
		return
	}
	if tp, ok := h.Place["tp"]; ok { // SGLang's ranks of one pipeline stage
		h.Rank, h.Learnt[trace.FieldRank] = tp, trace.FromFile
		return
	}
	if n, ok := number(workerPattern, name, 1); ok {
		h.Rank, h.Learnt[trace.FieldRank] = n, trace.FromFile
	}
}

// dirs takes the rank from a directory that is named by a card or a worker alone, the nearest first.
func (h *Hints) dirs(names []string) {
	for _, name := range names {
		if n, ok := number(workerDir, name, 1); ok && h.Rank < 0 && h.Role == "" && !h.Merged {
			h.Rank, h.Learnt[trace.FieldRank] = n, trace.FromDir
		}
	}
}

// What differs between the ranks of one capture: ranks, places, times, processes.
var (
	perRank = regexp.MustCompile(
		`(?i)(^|[^a-z])(?:local[-_. ]?)?(?:rank|worker|gpu|tp|pp|dp|ep|dcp|pcp|cp|sp|node|host)[-_. =]?[\[(]?\d+[\])]?`)
	stamps = regexp.MustCompile(`\d{8}[-_]\d{6}|\d{9,}|\d{4}-\d\d-\d\d|(?:[A-Z][a-z]{2}_\d\d_\d\d_\d\d_\d\d)\.\d+`)
	// packed are the suffixes that say how a file is written, not what it is.
	packed = regexp.MustCompile(`(?i)(\.(gz|zst|zstd|bz2|xz|lzma|lz4|sz|zz|json|pt|trace|ksrec|rec|kinrec))+$`)
)

// captureOf is what is left of names when everything is taken out that differs from
// rank to rank of one capture.
func captureOf(names []string) string {
	names = slices.Clone(names)
	slices.Reverse(names)
	for i, n := range names {
		if i == len(names)-1 {
			n = packed.ReplaceAllString(n, "")
		}
		if f := hostPID.FindStringSubmatchIndex(n); f != nil {
			n = n[:f[4]] + "#" + n[f[5]:]
		}
		names[i] = stamps.ReplaceAllString(perRank.ReplaceAllString(n, "${1}#"), "@")
	}
	return strings.Join(names, "/")
}
