package units

import (
	"fmt"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes as people write it.
type ByteSize int64

// UnmarshalText reads 1048576, 512MB, 4GiB.
func (b *ByteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	n := strings.TrimRight(s, "BbKkMmGgTtiI ")
	v, err := strconv.ParseFloat(n, 64)
	unit, ok := map[string]float64{"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
		"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}[strings.ToLower(strings.TrimSpace(s[len(n):]))]
	if err != nil || !ok || !(v >= 0) || v*unit > 1<<60 {
		return fmt.Errorf("%q is no number of bytes: write 512MiB or 4GiB", s)
	}
	*b = ByteSize(v * unit)
	return nil
}
