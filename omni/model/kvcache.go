package model

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/profiler"
)

// kvCache is the paged cache of one rank: a pool of blocks, each of which holds
// BlockSize positions of every layer and every local kv head.
type kvCache struct {
	data       []float32
	blockSize  int // floats of a block
	layerSize  int // floats of one layer within it
	headSize   int // floats of one head within that
	free       []int
	blocks     int
	seqs       map[SeqID]*sequence
	addr       uint64 // of data
	blockBytes int64
}

// sequence is what the cache knows of one sequence.
type sequence struct {
	length int
	at     []int // where each of its blocks begins in data
}

func newKVCache(m *model, blocks, layers, heads, dim int) (*kvCache, error) {
	c := &kvCache{blocks: blocks, headSize: headFloats(dim), seqs: map[SeqID]*sequence{}}
	c.layerSize = c.headSize * heads
	c.blockSize = c.layerSize * layers
	total := int64(c.blockSize) * int64(blocks) * floatBytes
	if total > MaxModelBytes {
		return nil, fmt.Errorf("%s: kv cache of %d blocks takes %d bytes, limit %d", m.name, blocks, total,
			int64(MaxModelBytes))
	}
	c.data = make([]float32, c.blockSize*blocks)
	c.addr = spanOf(poolKV, c.data).addr
	c.blockBytes = int64(c.blockSize) * floatBytes
	for i := blocks - 1; i >= 0; i-- {
		c.free = append(c.free, i*c.blockSize)
	}
	return c, nil
}

// needed is the number of blocks that n more positions of seq take.
func (c *kvCache) needed(seq SeqID, n int) int {
	have, length := 0, 0
	if s := c.seqs[seq]; s != nil {
		have, length = len(s.at), s.length
	}
	return (length+n+BlockSize-1)/BlockSize - have
}

// extend makes room for n more positions of seq; the caller has checked that there is.
func (c *kvCache) extend(t *profiler.Track, seq SeqID, n int) *sequence {
	s := c.seqs[seq]
	if s == nil {
		s = &sequence{}
		c.seqs[seq] = s
	}
	for range c.needed(seq, n) {
		at := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		s.at = append(s.at, at)
		t.Alloc(poolKV, c.addr+uint64(at)*4, c.blockBytes)
	}
	return s
}

func (c *kvCache) release(t *profiler.Track, seq SeqID) {
	s := c.seqs[seq]
	if s == nil {
		return
	}
	for _, at := range s.at {
		c.free = append(c.free, at)
		t.Free(poolKV, c.addr+uint64(at)*4, c.blockBytes)
	}
	delete(c.seqs, seq)
}
