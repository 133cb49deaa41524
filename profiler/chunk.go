package profiler

import "sync/atomic"

// chunk is a piece of memory that one owner fills and the collector empties.
//
// The owner alone writes buf, from the front, and publishes how much of it is complete
// in pub. Once next is set, pub is final. The collector reads buf[:pub] only, and gives
// the chunk back to the pool when it has read all of a chunk whose next is set.
type chunk struct {
	pub   uint32 // atomic; complete bytes of buf
	index uint32 // place in pool.chunks
	next  atomic.Pointer[chunk]
	free  atomic.Uint32 // 1 + index of the next free chunk
	buf   []byte
}

// pool holds a bounded number of chunks. Owners take, the collector puts; neither waits.
// The free list is a stack of indexes with a tag that changes with every change, so that
// a chunk taken and put back in between cannot be mistaken for an unchanged list.
type pool struct {
	head      atomic.Uint64 // tag << 32 | 1 + index
	allocated atomic.Int64
	size      int      // bytes of a chunk
	chunks    []*chunk // slots are filled once, by the owner that allocates
}

func newPool(size, limit int) *pool {
	return &pool{size: size, chunks: make([]*chunk, limit)}
}

// take returns an empty chunk, or nil if all are in use. Memory is allocated when it is
// first needed and then kept.
func (p *pool) take() *chunk {
	for {
		h := p.head.Load()
		i := uint32(h)
		if i == 0 {
			break
		}
		c := p.chunks[i-1]
		if p.head.CompareAndSwap(h, (h>>32+1)<<32|uint64(c.free.Load())) {
			return c
		}
	}
	if p.allocated.Load() >= int64(len(p.chunks)) {
		return nil
	}
	n := p.allocated.Add(1)
	if n > int64(len(p.chunks)) {
		p.allocated.Add(-1)
		return nil
	}
	c := &chunk{index: uint32(n - 1), buf: make([]byte, p.size)}
	p.chunks[n-1] = c
	return c
}

// put gives back a chunk that no owner and no reader uses any more.
func (p *pool) put(c *chunk) {
	atomic.StoreUint32(&c.pub, 0)
	c.next.Store(nil)
	for {
		h := p.head.Load()
		c.free.Store(uint32(h))
		if p.head.CompareAndSwap(h, (h>>32+1)<<32|uint64(c.index+1)) {
			return
		}
	}
}
