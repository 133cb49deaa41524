// Package units writes quantities as people read them, the same wherever they are shown:
// three significant digits and the unit that keeps the number short. The page in the
// browser does the same (web/ui/units.js).
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// unit is a divisor and its name.
type unit struct {
	div  float64
	name string
}

var (
	timeUnits    = []unit{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}, {1, "ns"}}
	decimalUnits = []unit{{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}
	binaryUnits  = []unit{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}}
)

// Digits writes v with three significant digits, without an exponent.
func Digits(v float64) string {
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

// Times writes what there is several times once, with how often: "2 × NVIDIA H200".
func Times(n int, what string) string {
	if n < 2 {
		return what
	}
	return strconv.Itoa(n) + " × " + what
}

// pick returns the largest unit of which v is at least one after rounding; ok is false if
// v is less than one of the smallest.
func pick(v float64, list []unit) (u unit, ok bool) {
	for i := len(list) - 1; i >= 0; i-- {
		if i == 0 {
			return list[0], math.Abs(v) >= 0.9995*list[0].div
		}
		// What rounds to one of the next larger unit is written in that.
		if math.Abs(v) < 0.9995*list[i-1].div {
			return list[i], math.Abs(v) >= 0.9995*list[i].div
		}
	}
	return unit{}, false
}

// longUnits are the units in seconds that are written in two parts, "2 min 10 s", from twice the
// first on: there they are read more easily than a large number of smaller ones.
var longUnits = []struct {
	of            int64
	name          string
	rest          int64
	nameOfTheRest string
}{{86400, "d", 3600, "h"}, {3600, "h", 60, "min"}, {60, "min", 1, "s"}}

// year is the seconds of a year, from twice which on durations are written in years. None is
// measured, but damaged files have them.
const year = 365.25 * 86400

// Duration writes nanoseconds: "1.25 ms", "0", "-3.00 µs", "2 min 10 s", "3 h 0 min", "53.9 years".
func Duration(ns float64) string {
	sign := ""
	if ns < 0 {
		sign = "-"
	}
	switch seconds := math.Abs(ns) / 1e9; {
	case ns == 0:
		return "0"
	case seconds >= 2*year:
		return sign + Digits(seconds/year) + " years"
	case seconds >= 120:
		s := int64(math.Round(seconds))
		for _, u := range longUnits {
			if s >= 2*u.of {
				return fmt.Sprintf("%s%d %s %d %s", sign, s/u.of, u.name, s%u.of/u.rest, u.nameOfTheRest)
			}
		}
	}
	u, ok := pick(ns, timeUnits)
	if !ok || u.div == 1 {
		return strconv.FormatFloat(ns, 'f', 0, 64) + " ns"
	}
	return Digits(ns/u.div) + " " + u.name
}

// TimeUnit is the unit of an axis on which the largest time is ns: a divisor and a name.
func TimeUnit(ns float64) (div float64, name string) {
	for _, u := range timeUnits {
		if math.Abs(ns) >= u.div {
			return u.div, u.name
		}
	}
	return 1, "ns"
}

// Scaled writes v with a decimal prefix before a unit: "1.25 GFLOP", "12.0 k".
func Scaled(v float64, suffix string) string {
	if v == 0 {
		return "0"
	}
	if u, ok := pick(v, decimalUnits); ok {
		return strings.TrimRight(Digits(v/u.div)+" "+u.name+suffix, " ")
	}
	return strings.TrimRight(Digits(v)+" "+suffix, " ")
}

// fullCount is the number from which a count is shortened.
const fullCount = 10_000

// Count writes a whole number, in full below ten thousand: "9999", "12.3 k".
func Count(n int64) string {
	if n < fullCount && n > -fullCount {
		return strconv.FormatInt(n, 10)
	}
	return Scaled(float64(n), "")
}

// Plural is n and a word for it: "1 file", "2 files", "3 matches".
func Plural(n int, word string) string {
	switch {
	case n == 1:
		return "1 " + word
	case strings.HasSuffix(word, "ch"):
		return fmt.Sprintf("%d %ses", n, word)
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// Bytes writes an amount of memory with a binary prefix: "1.25 MiB", "0 B".
func Bytes(n int64) string {
	if u, ok := pick(float64(n), binaryUnits); ok {
		return Digits(float64(n)/u.div) + " " + u.name
	}
	return strconv.FormatInt(n, 10) + " B"
}

// Share writes a part of 1: "0%", "<0.1%", "4.5%", "37%".
func Share(v float64) string {
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

// Rate writes gigabytes a second, small ones not as zero: "12.5", "0.0031".
func Rate(gbs float64) string {
	if gbs > 0 && gbs < 0.01 {
		return strconv.FormatFloat(gbs, 'g', 2, 64)
	}
	return Digits(gbs)
}
