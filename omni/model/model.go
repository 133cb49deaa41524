package model

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// Pools of memory, as a memory snapshot names them.
var (
	poolWeights   = profiler.Intern("weights")
	poolKV        = profiler.Intern("kv_cache")
	poolWorkspace = profiler.Intern("workspace")
	poolLatents   = profiler.Intern("latents")
	poolStreams   = profiler.Intern("streams")
)

// model is the part that all models share: group, memory and state.
type model struct {
	name   string
	g      collective.Group
	rank   int
	size   int
	t      *profiler.Track // of Open, for the weights
	src    tensors
	owned  []span // everything allocated but KV blocks and the like, to be freed by Close
	bytes  int64
	sums   [2]scratch // of sumParts
	err    error      // the group's error that broke the model
	closed bool
}

// span is one allocation that was reported.
type span struct {
	pool  profiler.Name
	addr  uint64
	bytes int64
}

// open reads the config to c and gets the weights' source ready; the caller defers opened.
func open(ctx context.Context, t *profiler.Track, o Options, c config) (*model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g := o.Group
	if g == nil {
		g = collective.Solo()
	}
	fsys, err := modelFS(o.Model)
	if err != nil {
		return nil, err
	}
	if err := readConfig(fsys, o.Model, ConfigFile, o.Overrides, g.Size(), c); err != nil {
		return nil, err
	}
	src, err := openTensors(o, fsys, o.Model)
	if err != nil {
		return nil, err
	}
	return &model{name: o.Model, g: g, rank: g.Rank(), size: g.Size(), t: t, src: src}, nil
}

// opened ends what open began; each Open defers it. It closes the source of the weights, and with
// closeAll the whole model if *err says that it could not be built. If the source cannot be closed,
// that becomes *err.
func (m *model) opened(err *error, closeAll func(*profiler.Track) error) {
	if cerr := m.src.Close(); *err == nil {
		*err = cerr
	}
	if *err != nil {
		_ = closeAll(m.t)
	}
	m.src, m.t = nil, nil
}

// ready returns an error if the model is closed or broken, or if ctx has ended.
func (m *model) ready(ctx context.Context) error {
	switch {
	case m.closed:
		return fmt.Errorf("%s: %w", m.name, ErrClosed)
	case m.err != nil:
		return m.err
	}
	return ctx.Err()
}

// broke remembers an error of the group, after which the model cannot be used, and returns it.
func (m *model) broke(err error) error {
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("%s: rank %d: %w", m.name, m.rank, err)
	}
	return m.err
}

// own reports an allocation that lives as long as the model.
func (m *model) own(t *profiler.Track, pool profiler.Name, x []float32) []float32 {
	if len(x) == 0 {
		return x
	}
	s := spanOf(pool, x)
	m.owned = append(m.owned, s)
	m.bytes += s.bytes
	t.Alloc(s.pool, s.addr, s.bytes)
	return x
}

// drop reports that an allocation of own is gone.
func (m *model) drop(t *profiler.Track, x []float32) {
	if cap(x) == 0 {
		return
	}
	addr := spanOf(0, x[:1]).addr
	for i, s := range m.owned {
		if s.addr == addr {
			t.Free(s.pool, s.addr, s.bytes)
			m.bytes -= s.bytes
			m.owned = append(m.owned[:i], m.owned[i+1:]...)
			return
		}
	}
}

func spanOf(pool profiler.Name, x []float32) span {
	return span{pool: pool, addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(x)))), bytes: int64(4 * cap(x))}
}

// close frees everything that own reported. It says whether there was anything to do.
func (m *model) close(t *profiler.Track) bool {
	if m.closed {
		return false
	}
	m.closed = true
	for _, s := range m.owned {
		t.Free(s.pool, s.addr, s.bytes)
	}
	m.owned, m.bytes, m.sums = nil, 0, [2]scratch{}
	return true
}

// scratch is a buffer of the workspace: it keeps the size it grew to.
type scratch struct{ x []float32 }

// floats returns n elements of any value.
func (m *model) floats(t *profiler.Track, s *scratch, n int) []float32 {
	if cap(s.x) < n {
		m.drop(t, s.x)
		s.x = m.own(t, poolWorkspace, make([]float32, n+n/4))
	}
	s.x = s.x[:n]
	return s.x
}

// load reads a tensor that every rank holds whole.
func (m *model) load(name string, shape ...int) ([]float32, error) {
	x, err := m.src.tensor(name, shape...)
	if err != nil {
		return nil, err
	}
	return m.own(m.t, poolWeights, x), nil
}
