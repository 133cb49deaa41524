package analysis

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Roof is what a device can do at best.
type Roof struct {
	FLOPs float64 `json:"flops_per_s"` // for the type of number in question
	Bytes float64 `json:"bytes_per_s"` // to and from its memory
}

// Roofs gives the roof for a type of number as Kineto spells it ("float",
// "c10::BFloat16"), and whether it is known.
type Roofs func(dtype string) (Roof, bool)

// FixedRoof is the same roof for every type.
func FixedRoof(r Roof) Roofs { return func(string) (Roof, bool) { return r, true } }

// card holds a card's peaks from its maker's data sheet: dense, in units of 1e12 FLOPs
// and 1e12 bytes a second. float32 is the rate of matrix units where they take it
// (TF32), as that is what a product can reach at best.
type card struct {
	part                    string // of the device's name
	half, single, byte8, tb float64
}

// cards are tried in order: the longer of two similar names comes first.
var cards = []card{
	{"B200", 2250, 1125, 4500, 8.0},
	{"H200", 989.4, 494.7, 1978.9, 4.8},
	{"H100 80GB HBM3", 989.4, 494.7, 1978.9, 3.35},
	{"H100 PCIe", 756, 378, 1513, 2.0},
	{"A100-SXM4-80GB", 312, 156, 0, 2.039},
	{"A100 80GB PCIe", 312, 156, 0, 1.935},
	{"A100-SXM4-40GB", 312, 156, 0, 1.555},
	{"A100-PCIE-40GB", 312, 156, 0, 1.555},
	{"V100-SXM2", 125, 15.7, 0, 0.9},
	{"MI300X", 1307.4, 653.7, 2614.9, 5.3},
}

// RoofsOf returns the roofs of the card that tr was recorded on, by the name in its
// metadata; nil if the card is not known.
func RoofsOf(tr *trace.Trace) Roofs {
	for _, d := range tr.Meta.Devices {
		for _, c := range cards {
			if strings.Contains(d.Name, c.part) {
				return c.roof
			}
		}
	}
	return nil
}

func (c card) roof(dtype string) (Roof, bool) {
	r := Roof{Bytes: c.tb * 1e12}
	switch coll.DTypeSize(dtype) {
	case 2:
		r.FLOPs = c.half * 1e12
	case 4:
		r.FLOPs = c.single * 1e12
	case 1:
		r.FLOPs = c.byte8 * 1e12
	}
	return r, r.FLOPs > 0
}
