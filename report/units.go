package report

import "strconv"

// fixed writes ns in a unit of div ns with the decimals that give the largest value four
// digits.
func fixed(ns, largest, div float64) string {
	dec := 0
	switch m := largest / div; {
	case div == 1:
	case m < 10:
		dec = 3
	case m < 100:
		dec = 2
	case m < 1000:
		dec = 1
	}
	return strconv.FormatFloat(ns/div, 'f', dec, 64)
}
