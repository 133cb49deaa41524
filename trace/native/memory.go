package native

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// ArgPool is the pool of a memory instant; Kineto has no such argument.
const ArgPool = "Pool"

// poolCounter is the counter of a pool's bytes; its series are the pools.
const poolCounter = "pool bytes"

type memory struct {
	at    int64
	alloc bool
	pool  trace.StringID
	addr  uint64
	bytes int64
	track trace.TrackID
}

type poolAddr struct {
	pool trace.StringID
	addr uint64
}

// memoryEvents adds the allocations and frees by time, with running totals. What is
// freed in the window without having been allocated in it was there at its start, so
// the totals begin with that much; what lived through the whole window is not known.
func (b *builder) memoryEvents() {
	slices.SortStableFunc(b.memory, func(x, y memory) int { return cmp.Compare(x.at, y.at) })
	total, pools := b.heldBefore()
	for _, m := range b.memory {
		bytes := m.bytes
		if !m.alloc {
			bytes = -bytes
		}
		total += bytes
		pools[m.pool] += bytes
		b.args.reset()
		b.args.int("Device Type", 0)
		b.args.int("Device Id", -1)
		b.args.uint("Addr", m.addr)
		b.args.int("Bytes", bytes)
		b.args.int("Total Allocated", total)
		b.args.int("Total Reserved", total) // pools keep nothing beyond what is allocated
		b.args.text(ArgPool, b.t.String(m.pool))
		b.t.AddInstant(m.at, trace.NameMemory, trace.CatCPUInstant, m.track, b.args.done())
		b.t.AddCounter(m.at, poolCounter, b.t.String(m.pool), m.track, float64(pools[m.pool]))
	}
	b.memory = nil
}

func (b *builder) heldBefore() (total int64, pools map[trace.StringID]int64) {
	pools = map[trace.StringID]int64{}
	live := map[poolAddr]int{}
	for _, m := range b.memory {
		key := poolAddr{m.pool, m.addr}
		switch {
		case m.alloc:
			live[key]++
		case live[key] > 0:
			live[key]--
		default:
			pools[m.pool] += m.bytes
			total += m.bytes
		}
	}
	return total, pools
}
