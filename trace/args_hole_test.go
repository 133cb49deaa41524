package trace

import (
	"testing"

	"pgregory.net/rapid"
)

// TestNextHole: looking at eight bytes at a time finds what looking at each does.
func TestNextHole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0x7F, 0x80, 0xFD, ArgHexHole, ArgHole}), 0, 40).
			Draw(rt, "bytes")
		want := len(b)
		for i, c := range b {
			if isHole(c) {
				want = i
				break
			}
		}
		if got := nextHole(b); got != want {
			rt.Fatalf("% x: %d, want %d", b, got, want)
		}
	})
}
