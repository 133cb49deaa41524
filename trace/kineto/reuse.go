package kineto

import (
	"context"
	"math/bits"
	"sync"
)

// What a read needs beside the trace is left to the next read: buffers, columns of results, and
// scanners with what they have learned of names, templates and layouts. The files of one question
// are much alike, and learning anew is most of what a small one takes. What a trace says does not
// depend on it: the merger numbers everything by its first use in the file.

var (
	scanners sync.Pool // of *scanner
	results  = sync.Pool{New: func() any { return new(result) }}
)

// Bounds of what a scanner may have learned to be used again. Beyond them most of it was of one
// file only, and would take memory and crowd out what the next file needs.
const (
	keepTexts     = 4096
	keepTemplates = 512
	keepLanes     = 1024
	keepLayouts   = maxLayouts / 2
	keepBytes     = 1 << 20 // of texts and templates
)

// takeScanner returns a scanner for a worker of a read, perhaps one that has read another file.
func takeScanner(o *Options, worker int) *scanner {
	s, ok := scanners.Get().(*scanner)
	if !ok {
		return newScanner(o, worker)
	}
	s.opt, s.worker = o, worker
	return s
}

func newScanner(o *Options, worker int) *scanner {
	s := &scanner{opt: o, worker: worker}
	s.texts.id(nil) // text 0 is the empty one
	return s
}

// giveBack leaves the scanner to the next read. Nothing else uses it any more, but for the tables
// that it has shared as long as they were.
func (s *scanner) giveBack() {
	if s.worker == 0 { // the merger's own has one result all the time
		s.res.giveBack()
	}
	s.res, s.opt, s.mend = nil, nil, mender{}
	m := &s.tmpl
	if len(s.texts.list) > keepTexts || len(m.list) > keepTemplates || s.lanes.list.Len() > keepLanes ||
		s.learnt() > keepBytes {
		return
	}
	if len(s.layouts.list) > keepLayouts {
		s.layouts = layouts{}
	}
	s.layouts.missed = 0
	m.asked, m.unlike = 0, [len(m.unlike)]uint8{}
	scanners.Put(s)
}

// learnt is the size in bytes of the texts and templates that the scanner knows.
func (s *scanner) learnt() int {
	n := 0
	for i := range s.texts.list {
		n += len(s.texts.list[i].raw)
	}
	for _, t := range s.tmpl.list {
		n += len(t.lit)
	}
	return n
}

// giveBack leaves the result's columns to the next block, of this read or another.
func (r *result) giveBack() {
	r.reset()
	results.Put(r)
}

// Buffers of reads that are over lie by the power of two that is their size, between these two: a
// large file takes long enough for new ones, and what it leaves would lie beside its trace.
const (
	minBufferBits = 16
	maxBufferBits = 20
)

var buffers [maxBufferBits + 1]sync.Pool // of *[]byte

// newBuffer returns a buffer of n bytes, perhaps used before.
func newBuffer(n int) []byte {
	class := max(minBufferBits, bits.Len(uint(n-1)))
	if class > maxBufferBits || n < 1<<(minBufferBits-1) {
		return make([]byte, n)
	}
	if old, ok := buffers[class].Get().(*[]byte); ok {
		return (*old)[:n]
	}
	return make([]byte, n, 1<<class)
}

// buffer returns a buffer for carry bytes and a window of text, waiting for one if enough are out.
// The window is as large as makes the buffer a power of two.
func (p *pipeline) buffer(ctx context.Context, window, carry int) ([]byte, error) {
	var b []byte
	if p.made < cap(p.free) {
		select {
		case b = <-p.free:
		default:
			p.made++
		}
	} else {
		select {
		case b = <-p.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n := window
	if 2*(carry+pad) > window {
		n += carry + pad
	}
	if cap(b) < n {
		leave(b)
		b = newBuffer(n)
	}
	return b[:n], nil
}

// leave leaves a buffer to the next read.
func leave(b []byte) {
	if class := bits.Len(uint(cap(b))) - 1; class >= minBufferBits && class <= maxBufferBits && cap(b) == 1<<class {
		buffers[class].Put(&b)
	}
}

// giveBack leaves the buffers to the next read. Nothing uses them any more.
func (p *pipeline) giveBack() {
	for {
		select {
		case b := <-p.free:
			leave(b)
		default:
			return
		}
	}
}
