package kineto

import (
	"math/big"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestMicros(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-1", -1000, true}, {"1.5", 1500, true}, {"1712195495505582.988", 1712195495505582988, true},
		{"12345678.0005", 12345678001, true}, {"12345678.0004999", 12345678000, true}, {"-0.0005", -1, true}, {"1e3", 1000000, true},
		{"1.25E-1", 125, true}, {"-2.5e+2", -250000, true}, {"7200000000000000.999", 7200000000000000999, true}, {"7200000000000001", 0, false},
		{"99999999999999999999", 0, false}, {"1.", 0, false}, {".5", 0, false}, {"", 0, false}, {"NaN", 0, false}, {"1x", 0, false}, {"1e99", 0, false}, {"--1", 0, false},
	} {
		got, ok := microsText([]byte(c.in))
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %d %v, want %d %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

// TestMicrosProperty compares with exact arithmetic, rounding half away from zero.
func TestMicrosProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`-?[1-9][0-9]{0,14}(\.[0-9]{1,8})?(e-?[0-3])?`).Draw(rt, "number")
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			rt.Fatal(text)
		}
		want := r.Mul(r, big.NewRat(1000, 1)).FloatString(0)
		got, ok := microsText([]byte(text))
		if want == "-0" {
			want = "0"
		}
		if !ok {
			if n, err := strconv.ParseInt(want, 10, 64); err == nil && n/1000 < maxWholeMicros && n/1000 > -maxWholeMicros {
				rt.Fatalf("%s is not read", text)
			}
			return
		}
		if strconv.FormatInt(got, 10) != want {
			rt.Fatalf("%s: %d, exactly %s", text, got, want)
		}
	})
}

func TestNameHints(t *testing.T) {
	for file, want := range map[string]trace.Meta{
		"x/rank-34.Jul_15_10_52_41.1074.pt.trace.json.gz":        {Rank: 34, StageID: -1},
		"dp0_pp0_tp0_dcp0_ep0_rank3.1760000000.pt.trace.json.gz": {Rank: 3, StageID: -1},
		"1760000000-TP-2-DP-1-EXTEND.trace.json.gz":              {Rank: 2, StageID: -1},
		"runs/a/stage1_code2wav/trace_rank0.json.gz":             {Rank: 0, StageID: 1, Stage: "code2wav"},
		"host_1074.1712196748123.pt.trace.json":                  {Rank: -1, StageID: -1},
		"graph_capture_rank_0.1760000000.pt.trace.json.gz":       {Rank: 0, StageID: -1},
		"rank99999999999999999999.json":                          {Rank: -1, StageID: -1},
		"":                                                       {Rank: -1, StageID: -1},
	} {
		got := trace.Meta{File: file, Rank: -1, StageID: -1}
		nameHints(&got)
		if got.Rank != want.Rank || got.StageID != want.StageID || got.Stage != want.Stage {
			t.Errorf("%s: rank %d stage %d %q", file, got.Rank, got.StageID, got.Stage)
		}
	}
	got := trace.Meta{File: "rank7.json", Rank: 2, StageID: -1}
	if nameHints(&got); got.Rank != 2 {
		t.Error("the name counts more than the content")
	}
}
