package analysis

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Kind is what a slice of device work does.
type Kind uint8

// The kinds of device work.
const (
	KindOther Kind = iota
	KindCompute
	KindCommunication
	KindMemory
	numKinds
)

var kindNames = enum.Of[Kind]("kind", "other", "compute", "communication", "memory")

// String returns the kind's name.
func (k Kind) String() string { return kindNames.Text(k) }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return kindNames.Marshal(k) }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(b []byte) error { return kindNames.Unmarshal(k, b) }

// kindOf types device work by its category and name: unlike HTA's patterns, a kernel
// whose name merely contains "Sync", "dma" or starts with "hip" stays compute.
func kindOf(cat trace.Category, name string) Kind {
	switch {
	case cat == trace.CatGPUMemcpy, cat == trace.CatGPUMemset:
		return KindMemory
	case coll.Kernel(cat, name):
		return KindCommunication
	case cat == trace.CatMTIACCP && strings.HasPrefix(name, "dma"):
		return KindMemory
	case view.IsWrapper(cat, name):
		return KindOther
	}
	return KindCompute
}

// KindOf types device work by its category and name, as the analyses do without
// Options.HTA.
func KindOf(cat trace.Category, name string) Kind { return kindOf(cat, name) }
