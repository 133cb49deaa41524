package analysis

import (
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Collective is one collective operation of one rank; see package coll.
type Collective = coll.Collective

// CommTable is a rank's communication.
type CommTable = coll.Table

// CommRow is all collectives of one operation, group, type and size.
type CommRow = coll.Row

// Comms answers what was communicated, how often and how fast. HTA defines none of it, so
// Options.HTA changes nothing.
func Comms(tr *trace.Trace, opt Options) CommTable {
	opt.HTA = false
	return newFrame(tr, opt).comms()
}

// comms is computed once: several questions need it.
func (f *frame) comms() CommTable {
	f.commsOnce.Do(func() {
		if f.view == nil { // its rows are HTA's
			f.commTable = coll.Read(f.look().View)
			return
		}
		known := make([]bool, f.tr.Strings.Len())
		for j, i := range f.dev {
			// A row of category collective_comm communicates whatever it is called.
			if f.kinds[j] == KindCommunication && f.tr.Slices.Cat[i] != trace.CatCollectiveComm {
				known[f.tr.Slices.Name[i]] = true
			}
		}
		f.commTable = coll.ReadKnowing(f.view, func(id trace.StringID) bool { return known[id] })
	})
	return f.commTable
}

// Comms is the package's Comms.
func (v *View) Comms() CommTable { return v.f.comms() }

// Overlap is CommComputeOverlap.
func (v *View) Overlap() Overlap { return v.f.overlap() }
