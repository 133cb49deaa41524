package trace

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// Objects whose texts differ in more than numbers would need a template each, which saves no
// memory. They are packed instead: laid one after the other into blocks, and each block is
// compressed by itself. A reference to a packed object has packedTemplate as its template; its
// offset holds the number of the block and the object's place in the block.

const (
	// packedTemplate is the template that marks a packed object.
	packedTemplate = 1<<(64-refOffsetBits) - 2
	// packPlaceBits is how many bits of an offset are the place in a block. The rest number 2^20
	// blocks of 64 KiB, which is as much text as the values of templates may take.
	packPlaceBits = 16
	packBlock     = 1 << packPlaceBits // a block is closed when it is as long as this
	maxPackBlocks = 1 << (refOffsetBits - packPlaceBits)
	// MaxPacked is the size in bytes of the largest object that can be packed. Larger
	// ones are rare, and a block must be unpacked as a whole.
	MaxPacked = 1 << 20
)

const (
	// freeTemplates is how many templates a store may make before each further one must save
	// memory.
	freeTemplates = 4096
	// templateRepay is how many objects a template must serve on average to save memory. The
	// template itself takes some 300 bytes more than a packed object, and every object that it
	// serves takes hundreds of bytes less than a packed one.
	templateRepay = 16
)

// TemplatesRepay reports whether one more template saves memory in a store, or in a reader's share
// of one, that has this many templates for this many objects.
func TemplatesRepay(templates, objects int) bool {
	return templates < freeTemplates+objects/templateRepay
}

// ArgsPacker packs objects into blocks, for readers that pack in parallel. The zero
// value is ready.
type ArgsPacker struct {
	open   []byte
	blocks [][]byte
	out    []byte
	enc    *zstd.Encoder
}

// Add packs raw, valid JSON of at most MaxPacked bytes, and returns its offset for
// PackedRef; blocks are numbered from 0 since the last Take.
func (p *ArgsPacker) Add(raw []byte) uint64 {
	at := uint64(len(p.blocks))<<packPlaceBits | uint64(len(p.open))
	p.open = append(append(p.open, raw...), 0)
	if len(p.open) >= packBlock {
		p.close()
	}
	return at
}

func (p *ArgsPacker) close() {
	if p.enc == nil {
		// NewWriter fails only on wrong options, and these are right.
		p.enc, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(packBlock), zstd.WithLowerEncoderMem(true))
	}
	p.out = p.enc.EncodeAll(p.open, p.out[:0])
	p.blocks = append(p.blocks, bytes.Clone(p.out))
	p.open = p.open[:0]
}

// Take returns the blocks of what was added since the last call.
func (p *ArgsPacker) Take() [][]byte {
	if len(p.open) > 0 {
		p.close()
	}
	b := p.blocks
	p.blocks = nil
	return b
}

// PackedRef returns the reference to an object in the blocks of an ArgsPacker, of which
// the first has number first in the trace; see AddPackedArgs.
func PackedRef(first int, at uint64) ArgsRef {
	return ArgsRef(packedTemplate+1)<<refOffsetBits | ArgsRef(uint64(first)<<packPlaceBits+at)&refOffsetMask
}

// Packed reports whether r's object is packed and belongs to no template.
func (r ArgsRef) Packed() bool { return uint64(r>>refOffsetBits) == packedTemplate+1 }

// AddPackedArgs adds the blocks of an ArgsPacker, which the trace owns from then on, and
// returns the number of the first. ok is false if there is no room for so many.
func (t *Trace) AddPackedArgs(blocks [][]byte) (first int, ok bool) {
	p := &t.args.packed
	first = len(p.blocks)
	if first+len(blocks) > maxPackBlocks {
		return 0, false
	}
	p.blocks = append(p.blocks, blocks...)
	for _, b := range blocks {
		p.bytes += int64(len(b))
	}
	return first, true
}

// PackedArgs returns the packed blocks, for a writer that stores the trace as it is.
// They must not be changed.
func (t *Trace) PackedArgs() [][]byte {
	t.args.closePack()
	return t.args.packed.blocks
}

// pack packs an object of AddArgs; ok is false if there is no room for its block.
func (a *argStore) pack(raw []byte) (r ArgsRef, ok bool) {
	if len(a.packer.open) == 0 {
		if len(a.packed.blocks) == maxPackBlocks {
			return NoArgs, false
		}
		a.packNo = len(a.packed.blocks)
		a.packed.blocks = append(a.packed.blocks, nil) // reserves the block's number; closePack fills it
	}
	r = PackedRef(a.packNo, a.packer.Add(raw))
	if len(a.packer.open) == 0 {
		a.closedPack()
	}
	return r, true
}

// closePack packs the block that AddArgs fills.
func (a *argStore) closePack() {
	if len(a.packer.open) > 0 {
		a.closedPack()
	}
}

func (a *argStore) closedPack() {
	b := a.packer.Take()[0]
	a.packed.blocks[a.packNo] = b
	a.packed.bytes += int64(len(b))
}

// packedAt returns r's object if it is packed.
func (t *Trace) packedAt(r ArgsRef) []byte {
	if !r.Packed() {
		return nil
	}
	a, off := &t.args, uint64(r&refOffsetMask)
	if len(a.packer.open) > 0 && int(off>>packPlaceBits) == a.packNo {
		return packedIn(a.packer.open, off)
	}
	return a.packed.at(off)
}

// packedArgs are a trace's packed blocks, and those of them that were unpacked last.
type packedArgs struct {
	blocks [][]byte
	bytes  int64 // of blocks
	recent [packRecent]atomic.Pointer[unpacked]
}

// packRecent is the number of unpacked blocks that are kept: 2 MiB, so that rows in
// the order of a file, or of some tracks side by side, unpack a block once.
const packRecent = 32

type unpacked struct {
	block int
	text  []byte
}

// packDecoder unpacks blocks for any number of goroutines and starts none itself.
var packDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(packBlock+MaxPacked+1))
	return d
})

// at returns the object at an offset, nil if there is none. The result must not be
// changed.
func (p *packedArgs) at(off uint64) []byte {
	block := int(off >> packPlaceBits)
	if block >= len(p.blocks) {
		return nil
	}
	slot := &p.recent[block%packRecent]
	u := slot.Load()
	if u == nil || u.block != block {
		text, err := packDecoder().DecodeAll(p.blocks[block], nil)
		if err != nil {
			return nil // of a damaged index; its checksum makes this unlikely
		}
		u = &unpacked{block, text}
		slot.Store(u)
	}
	return packedIn(u.text, off)
}

// packedIn returns the object at an offset of its block's text.
func packedIn(text []byte, off uint64) []byte {
	from := int(off & (packBlock - 1))
	if from >= len(text) {
		return nil
	}
	text = text[from:]
	n := bytes.IndexByte(text, 0)
	if n < 0 {
		return nil
	}
	return text[:n:n]
}

// size is the memory that the blocks take, in bytes.
func (p *packedArgs) size() int64 {
	n := p.bytes + 24*int64(cap(p.blocks))
	for i := range p.recent {
		if u := p.recent[i].Load(); u != nil {
			n += int64(cap(u.text))
		}
	}
	return n
}
