package protocol

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestRankKeyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := RankID{
			Pipeline: rapid.StringMatching(`[a-zA-Z0-9_-]{1,64}`).Draw(t, "pipeline"),
			Stage:    rapid.IntRange(0, 1<<20).Draw(t, "stage"),
			Replica:  rapid.IntRange(0, 1<<20).Draw(t, "replica"),
			Rank:     rapid.IntRange(0, 1<<20).Draw(t, "rank"),
		}
		got, err := ParseRankKey(want.Key())
		if err != nil || got != want {
			t.Fatalf("ParseRankKey(%q) = %v, %v; want %v", want.Key(), got, err, want)
		}
	})
}

func FuzzParseRankKey(f *testing.F) {
	for _, s := range []string{"omni.s0.r0.k1", "", "a.s-1.r0.k0", "a.s01.r0.k0", "a.s+1.r0.k0", "a b.s0.r0.k0",
		"*.s0.r0.k0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseRankKey(s); err == nil && id.Key() != s {
			t.Fatalf("ParseRankKey(%q) = %v whose key is %q", s, id, id.Key())
		}
	})
}

func TestValidatePrefix(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""}, {"warm run 1", ""}, {"größe_3.2", ""}, {strings.Repeat("x", MaxPrefix), ""},
		{strings.Repeat("x", 300), "300 bytes"},
		{"a/b", "path separator"}, {`a\b`, "path separator"}, {"..", "dot"}, {"a..b", `".."`}, {".x", "dot"},
		{"a\x00b", "control"}, {"a\nb", "control"}, {"\xff", "UTF-8"},
		{"a\u009bb", "control"}, {"a\u202eb", "control"}, {"a\u2028b", "control"}, {"\u2066a", "control"},
	} {
		err := ValidatePrefix(tt.in)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ValidatePrefix(%q) = %v, want %q", tt.in, err, tt.want)
		}
	}
}

// What a rank says of itself is shown, logged and kept: text on one line, and not much of it.
func TestPresencesAreText(t *testing.T) {
	good := RankInfo{RankID: RankID{Pipeline: "omni"}, Incarnation: "i", StageName: "text encoder",
		Host: "größe.example"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*RankInfo, string){
		"stage_name":  func(r *RankInfo, s string) { r.StageName = s },
		"host":        func(r *RankInfo, s string) { r.Host = s },
		"incarnation": func(r *RankInfo, s string) { r.Incarnation = s },
		"engine":      func(r *RankInfo, s string) { r.Engine = Engine(s) },
		"stage_type":  func(r *RankInfo, s string) { r.StageType = StageType(s) },
		"spool_dir":   func(r *RankInfo, s string) { r.SpoolDir = s },
		"coll_addr":   func(r *RankInfo, s string) { r.CollAddr = s },
		"session":     func(r *RankInfo, s string) { r.Session = s },
	} {
		for _, bad := range []string{"\x1b[31m", "a\nb", "a\u202eb", "\u009b", "\xff", strings.Repeat("x", 10_000)} {
			r := good
			change(&r, bad)
			if err := r.Validate(); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s %.20q: %v", field, bad, err)
			}
		}
	}
	r := good
	r.Rank = -1
	if r.Validate() == nil {
		t.Error("a negative rank is taken")
	}
}

// What a rank says of what it recorded, and of the ranks that it stands for, is refused where it is no text,
// no state or no file.
func TestStatusesAreText(t *testing.T) {
	good := func() *RankStatus {
		return &RankStatus{RankID: RankID{Pipeline: "omni"}, StageName: "größe", State: StateComplete,
			Reason: "\x1b[31m", Held: []string{"01"},
			Artifacts: []Artifact{{Name: "trace.json.gz", Kind: KindTrace, SHA256: "00", URL: "https://elsewhere"}}}
	}
	s := good()
	s.Others = []RankStatus{*good()}
	if err := s.Hear(); err != nil || strings.Contains(s.Reason, "\x1b") ||
		s.Artifacts[0].URL != "" {
		t.Fatalf("%+v, %v", s, err)
	}
	for what, change := range map[string]func(*RankStatus){
		"state":     func(s *RankStatus) { s.State = "done\x1b[31m" },
		"stage":     func(s *RankStatus) { s.StageName = "a\u202eb" },
		"session":   func(s *RankStatus) { s.Session = "a\nb" },
		"held":      func(s *RankStatus) { s.Held = []string{"\u009b"} },
		"cause":     func(s *RankStatus) { s.StoppedBy = StopCause(strings.Repeat("x", 10_000)) },
		"escape":    func(s *RankStatus) { s.Artifacts[0].Name = "\x1b]0;owned\x07.json" },
		"turned":    func(s *RankStatus) { s.Artifacts[0].Name = "trace\u202egz.nosj" },
		"path":      func(s *RankStatus) { s.Artifacts[0].Name = "../manifest.json" },
		"back path": func(s *RankStatus) { s.Artifacts[0].Name = `a\b` },
		"no name":   func(s *RankStatus) { s.Artifacts[0].Name = "" },
		"long":      func(s *RankStatus) { s.Artifacts[0].Name = strings.Repeat("n", 201) },
		"kind":      func(s *RankStatus) { s.Artifacts[0].Kind = "\x1b[31m" },
		"object":    func(s *RankStatus) { s.Artifacts[0].Object = "a\x00" },
		"size":      func(s *RankStatus) { s.Artifacts[0].Size = -1 },
		"parts":     func(s *RankStatus) { s.Artifacts[0].Parts = -1 },
	} {
		s, of := good(), good()
		change(s)
		if s.Hear() == nil {
			t.Errorf("%s is taken", what)
		}
		change(of)
		s = good()
		s.Others = []RankStatus{*of}
		if s.Hear() == nil {
			t.Errorf("%s of a rank that it stands for is taken", what)
		}
	}
	s, other := good(), good()
	other.Pipeline = "\x1b[31m"
	s.Others = []RankStatus{*other}
	if err := s.Hear(); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("of no pipeline: %v", err)
	}
	s, nested := good(), good()
	nested.Others = []RankStatus{*good()}
	s.Others = []RankStatus{*nested}
	if s.Hear() == nil {
		t.Error("ranks of ranks of ranks are taken")
	}
}

func TestHeard(t *testing.T) {
	if got := Heard("CUDA error\n\x1b[31m\u202e"); got != "CUDA error  [31m " {
		t.Errorf("%q", got)
	}
	long := "first " + strings.Repeat("é", 1<<20) + " last"
	got := Heard(long)
	if len(got) > MaxReason || !utf8.ValidString(got) || !strings.HasPrefix(got, "first é") ||
		!strings.HasSuffix(got, "é last") {
		t.Errorf("%d bytes: %.20q", len(got), got)
	}
}

func TestProfilerConfigValidate(t *testing.T) {
	if err := DefaultProfilerConfig().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for field, c := range map[string]ProfilerConfig{
		"delay_iterations":  {DelayIterations: -1},
		"max_iterations":    {MaxIterations: -1},
		"active_iterations": {Profiler: "torch"},
		"iteration":         {Iteration: "epoch"},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: error %v does not name %s", c, err, field)
		}
	}
}

func TestPipelineNameIsOneToken(t *testing.T) {
	for _, bad := range []string{"", "a.b", "a b", "*", ">", "a/b", strings.Repeat("x", 65), "ü"} {
		if ValidatePipelineName(bad) == nil {
			t.Errorf("ValidatePipelineName(%q) accepts it", bad)
		}
	}
}

func TestStartRequestJSON(t *testing.T) {
	zero, five := 0, 5
	cfg := DefaultProfilerConfig()
	cfg.Profiler, cfg.WithMemory, cfg.Activities = ProfilerTorch, true, []string{"CPU"}
	for _, want := range []StartRequest{
		{}, {Prefix: "night run", Stages: []int{2, 0}, AllowPartial: true},
		{DelayIterations: &zero, MaxIterations: &five, MaxDuration: 1500 * time.Millisecond, MaxBytes: 1 << 40},
		{Last: 10 * time.Second, Config: &cfg},
	} {
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got StartRequest
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if err := got.Validate(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", data, got, err, want)
		}
	}
}

func TestStartRequestNamesTheField(t *testing.T) {
	neg := -1
	for field, r := range map[string]StartRequest{
		"profile_prefix":                     {Prefix: ".x"},
		"stages":                             {Stages: []int{}},
		"delay_iterations":                   {DelayIterations: &neg},
		"max_iterations":                     {MaxIterations: &neg},
		"max_duration_s":                     {MaxDuration: 1},
		"last_s":                             {Last: 25 * time.Hour},
		"max_bytes":                          {MaxBytes: -1},
		"profiler_config.profiler":           {Config: &ProfilerConfig{Profiler: "bogus", ActiveIterations: 1}},
		"profiler_config.torch_profiler_dir": {Config: &ProfilerConfig{TorchProfilerDir: "/etc"}},
	} {
		err := r.Validate()
		f, ok := errors.AsType[*FieldError](err)
		if !ok || f.Field != field || !strings.HasPrefix(f.Text, field) {
			t.Errorf("%+v: %v, want a FieldError of %s", r, err, field)
		}
	}
	r := StartRequest{Stages: []int{0, 7}}
	err := r.CheckStages([]StageRef{{0, "thinker"}, {1, "talker"}})
	if f, ok := errors.AsType[*FieldError](err); !ok || f.Field != "stages[1]" ||
		!strings.Contains(f.Text, "0 (thinker), 1 (talker)") {
		t.Errorf("%v", err)
	}
}

// FuzzStartRequest: what is read and valid is the same after it has been written.
func FuzzStartRequest(f *testing.F) {
	for _, s := range []string{`{"stages":[0,1],"profile_prefix":"p","max_iterations":3}`,
		`{"profiler_config":{"iteration":"request"}}`,
		`{"stages":null}`, `{"max_duration_s":1e308}`, `{"max_duration_s":1e-10}`, `{"max_bytes":9223372036854775807}`,
		`{`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r StartRequest
		if r.UnmarshalJSON(data) != nil || r.Validate() != nil {
			return
		}
		if r.MaxDuration < 0 || r.MaxDuration > MaxDuration || r.Last < 0 || len(r.Prefix) > MaxPrefix {
			t.Fatalf("accepted %+v", r)
		}
		out, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var again StartRequest
		if err := again.UnmarshalJSON(out); err != nil || again.Validate() != nil {
			t.Fatalf("%s became %s: %v", data, out, err)
		}
	})
}

func TestStageTypeOf(t *testing.T) {
	for name, want := range map[string]StageType{
		"thinker": StageLLM, "Talker-AR": StageLLM, "code2wav": StageGeneration, "token2wav-0": StageGeneration,
		"text_encoder": StageGeneration, "encoder2": StageGeneration, "decoder_audio": StageGeneration,
		"dit":  StageDiffusion,
		"dit0": StageDiffusion, "video_denoise": StageDiffusion, "denoising": StageDiffusion, "vae": StageGeneration,
		"edit": "", "credit": "", "decode": "", "llm": "", "": "",
	} {
		if got, ok := StageTypeOf(name); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %t; want %q", name, got, ok, want)
		}
	}
}
