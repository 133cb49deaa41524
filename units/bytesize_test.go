package units

import "testing"

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "100": 100, "100B": 100, "1k": 1024, "1KiB": 1024, "1kb": 1000,
		"512MiB": 512 << 20, "4GiB": 4 << 30, "1.5G": 3 << 29, "2 TB": 2e12} {
		var b ByteSize
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "4 GiBs", "1e99", "GiB", "NaN", "1.2.3M"} {
		var b ByteSize
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d", text, b)
		}
	}
}
