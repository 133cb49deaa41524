package units

import "testing"

func FuzzByteSize(f *testing.F) {
	for _, s := range []string{"1048576", "512MB", "4GiB", "1e30G", "-1", "NaN", "InfK", "0x10", " 5 k "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b ByteSize
		if err := b.UnmarshalText([]byte(s)); err == nil && b < 0 {
			t.Fatalf("%q is %d bytes", s, b)
		}
	})
}
