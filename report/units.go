package report

import (
	"math"
	"strconv"
	"strings"
)

// unit is a divisor and its name.
type unit struct {
	div  float64
	name string
}

var timeUnits = []unit{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}, {1, "ns"}}

// timeUnit returns the largest unit of which ns is at least one.
func timeUnit(ns float64) unit {
	for _, u := range timeUnits {
		if math.Abs(ns) >= u.div {
			return u
		}
	}
	return timeUnits[len(timeUnits)-1]
}

// digits writes v with three significant digits, without an exponent.
func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 99.95 || a == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// dur writes a duration with three digits and its unit.
func dur(ns float64) string {
	if ns == 0 {
		return "0"
	}
	u := timeUnit(ns)
	if u.div == 1 {
		return strconv.FormatFloat(ns, 'f', 0, 64) + " ns"
	}
	if s := digits(ns / u.div); s != "1000" || u.div == timeUnits[0].div {
		return s + " " + u.name
	}
	return dur(math.Copysign(u.div*1000, ns))
}

// fixed writes ns in u with the decimals that give the largest value four digits.
func fixed(ns, largest float64, u unit) string {
	dec := 0
	switch m := largest / u.div; {
	case u.div == 1:
	case m < 10:
		dec = 3
	case m < 100:
		dec = 2
	case m < 1000:
		dec = 1
	}
	return strconv.FormatFloat(ns/u.div, 'f', dec, 64)
}

// scaled writes n with a decimal prefix: 1.25 M.
func scaled(n float64, suffix string) string {
	if n == 0 {
		return "0"
	}
	for _, u := range []unit{{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(n) >= u.div {
			return strings.TrimRight(digits(n/u.div)+" "+u.name+suffix, " ")
		}
	}
	return strings.TrimRight(digits(n)+" "+suffix, " ")
}

// count writes a whole number, in full below ten thousand.
func count(n int64) string {
	if n < 10_000 {
		return strconv.FormatInt(n, 10)
	}
	return scaled(float64(n), "")
}

// size writes bytes with a binary prefix: 1.25 MiB.
func size(n int64) string {
	v := float64(n)
	for _, u := range []unit{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if v >= u.div {
			return digits(v/u.div) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

// percent writes a share of 1.
func percent(v float64) string {
	switch p := v * 100; {
	case p == 0:
		return "0%"
	case math.Abs(p) < 0.1:
		return "<0.1%"
	case math.Abs(p) < 9.95:
		return strconv.FormatFloat(p, 'f', 1, 64) + "%"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + "%"
	}
}
