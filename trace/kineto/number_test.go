package kineto

import (
	"math/big"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestMicros(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-1", -1000, true}, {"1.5", 1500, true}, {"1712195495505582.988", 1712195495505582988, true},
		{"12345678.0005", 12345678001, true}, {"12345678.0004999", 12345678000, true}, {"-0.0005", -1, true},
		{"1e3", 1000000, true},
		{"1.25E-1", 125, true}, {"-2.5e+2", -250000, true}, {"7200000000000000.999", 7200000000000000999, true},
		{"7200000000000001", 0, false},
		{"99999999999999999999", 0, false}, {"1.", 0, false}, {".5", 0, false}, {"", 0, false}, {"NaN", 0, false},
		{"1x", 0, false}, {"1e99", 0, false}, {"--1", 0, false},
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
			if n, err := strconv.ParseInt(want, 10, 64); err == nil && n/1000 < maxWholeMicros &&
				n/1000 > -maxWholeMicros {
				rt.Fatalf("%s is not read", text)
			}
			return
		}
		if strconv.FormatInt(got, 10) != want {
			rt.Fatalf("%s: %d, exactly %s", text, got, want)
		}
	})
}
