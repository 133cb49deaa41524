package memsnap

import (
	"bufio"
	"encoding/binary"
	"io"
	"math"
	"strings"
)

// Opcodes of pickle protocol 2 that the writer uses, and of later ones that the
// reader knows; from Python's pickletools.
const (
	opMark           = '('
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opNone           = 'N'
	opInt            = 'I'
	opLong           = 'L'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opBinInt2        = 'M'
	opBinFloat       = 'G'
	opUnicode        = 'V'
	opBinUnicode     = 'X'
	opEmptyDict      = '}'
	opDict           = 'd'
	opSetItem        = 's'
	opSetItems       = 'u'
	opEmptyList      = ']'
	opList           = 'l'
	opAppend         = 'a'
	opAppends        = 'e'
	opEmptyTuple     = ')'
	opTuple          = 't'
	opTuple1         = 0x85
	opTuple2         = 0x86
	opTuple3         = 0x87
	opTrue           = 0x88
	opFalse          = 0x89
	opLong1          = 0x8a
	opLong4          = 0x8b
	opPut            = 'p'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opGet            = 'g'
	opBinGet         = 'h'
	opLongBinGet     = 'j'
	opProto          = 0x80
	opShortUnicode   = 0x8c // protocol 4
	opBinUnicode8    = 0x8d
	opMemoize        = 0x94
	opFrame          = 0x95
	pickleProtocol   = 2
	maxReadProtocol  = 5
	appendsBatchSize = 1000 // as Python does; keeps a reader's stack short
)

// pickler writes one pickle. Texts are written once and referred to afterwards. The
// error of the writer is kept by bufio and comes out of Flush.
type pickler struct {
	w     *bufio.Writer
	next  uint32 // memo id
	texts map[string]uint32
	lists map[string]uint32
}

func newPickler(w io.Writer) *pickler {
	p := &pickler{w: bufio.NewWriter(w), texts: map[string]uint32{}, lists: map[string]uint32{}}
	p.op(opProto, pickleProtocol)
	return p
}

func (p *pickler) op(b ...byte) { _, _ = p.w.Write(b) }

func (p *pickler) u32(op byte, v uint32) {
	p.op(op)
	_, _ = p.w.Write(binary.LittleEndian.AppendUint32(nil, v))
}

func (p *pickler) bool(v bool) {
	if v {
		p.op(opTrue)
		return
	}
	p.op(opFalse)
}

func (p *pickler) int(v int64) {
	switch {
	case v >= 0 && v <= math.MaxUint8:
		p.op(opBinInt1, byte(v))
	case v >= 0 && v <= math.MaxUint16:
		p.op(opBinInt2, byte(v), byte(v>>8))
	case v >= math.MinInt32 && v <= math.MaxInt32:
		p.u32(opBinInt, uint32(int32(v)))
	default:
		b := binary.LittleEndian.AppendUint64(nil, uint64(v))
		p.op(opLong1, 8)
		p.op(b...)
	}
}

func (p *pickler) uint(v uint64) {
	if v <= math.MaxInt64 {
		p.int(int64(v))
		return
	}
	b := binary.LittleEndian.AppendUint64(nil, v)
	p.op(opLong1, 9)
	p.op(append(b, 0)...) // a ninth byte keeps the sign positive
}

func (p *pickler) text(s string) {
	p.once(p.texts, s, func() {
		s := strings.ToValidUTF8(s, "\uFFFD")
		p.u32(opBinUnicode, uint32(len(s)))
		_, _ = p.w.WriteString(s)
	})
}

// once writes a value the first time and refers to it by the memo afterwards.
func (p *pickler) once(memo map[string]uint32, key string, write func()) {
	if id, ok := memo[key]; ok {
		p.memoOp(opBinGet, opLongBinGet, id)
		return
	}
	write()
	memo[key] = p.next
	p.memoOp(opBinPut, opLongBinPut, p.next)
	p.next++
}

func (p *pickler) memoOp(short, long byte, id uint32) {
	if id <= math.MaxUint8 {
		p.op(short, byte(id))
		return
	}
	p.u32(long, id)
}

// dict writes a dict whose members the function writes: key, value, key, value.
func (p *pickler) dict(members func()) {
	p.op(opEmptyDict, opMark)
	members()
	p.op(opSetItems)
}

// list writes a list of n elements.
func (p *pickler) list(n int, element func(i int)) {
	p.op(opEmptyList)
	for i := range n {
		if i%appendsBatchSize == 0 {
			p.op(opMark)
		}
		element(i)
		if (i+1)%appendsBatchSize == 0 || i == n-1 {
			p.op(opAppends)
		}
	}
}

func (p *pickler) stop() error {
	p.op(opStop)
	return p.w.Flush()
}
