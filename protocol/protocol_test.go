package protocol

import (
	"strings"
	"testing"

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
	for _, s := range []string{"omni.s0.r0.k1", "", "a.s-1.r0.k0", "a.s01.r0.k0", "a.s+1.r0.k0", "a b.s0.r0.k0", "*.s0.r0.k0"} {
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
		{"a/b", "path separator"}, {`a\b`, "path separator"}, {"..", `".."`}, {"a..b", `".."`},
		{"a\x00b", "control"}, {"a\nb", "control"}, {"\xff", "UTF-8"},
	} {
		err := ValidatePrefix(tt.in)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ValidatePrefix(%q) = %v, want %q", tt.in, err, tt.want)
		}
	}
}

func TestProfilerConfigValidate(t *testing.T) {
	if err := DefaultProfilerConfig().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for field, c := range map[string]ProfilerConfig{
		"delay_iterations":  {DelayIterations: -1},
		"max_iterations":    {MaxIterations: -1},
		"active_iterations": {WarmupIterations: 1},
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
