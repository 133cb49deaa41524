package model

import "github.com/kinetoscope/kinetoscope/profiler"

// ReportMemory reports every allocation that is alive as if it were made now. A caller
// whose recording begins after the model was opened calls it first, so that a memory
// snapshot holds the weights and later frees have something to free.
func (m *model) ReportMemory(t *profiler.Track) {
	for _, s := range m.owned {
		t.Alloc(s.pool, s.addr, s.bytes)
	}
}

// ReportMemory reports weights, workspace and the blocks that sequences hold; see
// Vocoder.ReportMemory for its use.
func (l *LLM) ReportMemory(t *profiler.Track) {
	l.model.ReportMemory(t)
	for _, s := range l.kv.seqs {
		for _, at := range s.at {
			t.Alloc(poolKV, l.kv.addr+uint64(at)*4, l.kv.blockBytes)
		}
	}
}

// ReportMemory reports every allocation that is alive as if it were made now. A caller
// whose recording begins after the model was opened calls it first, so that a memory
// snapshot holds the weights and later frees have something to free.
func (v *Vocoder) ReportMemory(t *profiler.Track) {
	v.model.ReportMemory(t)
	for _, s := range v.streams {
		t.Alloc(s.span.pool, s.span.addr, s.span.bytes)
	}
}

// ReportMemory reports weights, workspace and the images that are held; see Vocoder.ReportMemory
// for its use.
func (d *DiT) ReportMemory(t *profiler.Track) {
	d.model.ReportMemory(t)
	for s := range d.images {
		for _, m := range s.mem {
			t.Alloc(m.pool, m.addr, m.bytes)
		}
	}
}
