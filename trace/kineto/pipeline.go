package kineto

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

// block is a piece of the unpacked text on its way from the feeder through a worker
// to the merger.
type block struct {
	buf  []byte // text and pad zeros
	end  int    // length of the text
	last bool
	read int64         // bytes of the file read so far
	res  *result       // nil until scanned
	done chan struct{} // closed when res is there; nil if no worker scans it
}

// pipeline owns the goroutines and buffers of one read.
type pipeline struct {
	opt     Options
	in      *unpack.Reader
	ordered chan *block // to the merger, in order
	work    chan *block // to the workers
	free    chan []byte // buffers not in use; made while fewer than its capacity are out
	made    int
	workers int // that were started
	wg      sync.WaitGroup
	err     error // the feeder's, read after ordered is closed
}

// read reads all traces of r; path is the name of the file for messages and hints.
func read(ctx context.Context, r io.Reader, path string, o Options) ([]*trace.Trace, error) {
	o = o.withDefaults()
	in, err := unpack.New(r)
	if err != nil {
		return nil, fmt.Errorf("read trace %s: %w", path, err)
	}
	defer in.Close()
	ctx, cancel := context.WithCancel(ctx)
	p := &pipeline{
		opt: o, in: in,
		ordered: make(chan *block, o.Workers+1),
		work:    make(chan *block, o.Workers+1),
		free:    make(chan []byte, o.Workers+3),
	}
	p.wg.Go(func() { p.feed(ctx) })
	m := newMerger(p, path)
	err = m.run(ctx)
	cancel()
	for range p.ordered { // unblocks the feeder
	}
	p.wg.Wait()
	p.giveBack()
	m.own.giveBack()
	if err != nil {
		return nil, err
	}
	if p.err != nil {
		return nil, fmt.Errorf("read trace %s: %w", path, p.err)
	}
	return m.docs, nil
}

// feed unpacks the text into blocks. Each but the last is cut where an event seems to
// begin; what is behind the cut opens the next block.
func (p *pipeline) feed(ctx context.Context) {
	defer close(p.ordered)
	defer close(p.work)
	var carry []byte
	for n := 0; ; n++ {
		b, err := p.buffer(ctx, min(p.opt.Window, firstWindow<<min(2*n, 20)), len(carry))
		if err != nil {
			p.err = err
			return
		}
		have := copy(b, carry)
		k, err := io.ReadFull(p.in, b[have:len(b)-pad])
		have += k
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			p.err = err
			return
		}
		cut := have
		if !last {
			if c := lastEvent(b, have); c > 0 {
				cut = c
			}
		}
		carry = append(carry[:0], b[cut:have]...)
		clear(b[cut : cut+pad])
		blk := &block{buf: b, end: cut, last: last, read: p.in.Consumed()}
		if n >= p.alone() {
			blk.done = make(chan struct{})
			if p.workers < p.opt.Workers {
				p.workers++
				id := p.workers
				p.wg.Go(func() { p.worker(id) })
			}
			select {
			case p.work <- blk:
			case <-ctx.Done():
				p.err = ctx.Err()
				return
			}
		}
		select {
		case p.ordered <- blk:
		case <-ctx.Done():
			p.err = ctx.Err()
			return
		}
		if last {
			return
		}
	}
}

// soloBlocks is the number of blocks, together 1.3 MiB, that the merger scans itself where a worker
// would not run beside it: a small file is one of many, and what it has to tell a second
// goroutine costs more than scanning it.
const soloBlocks = 3

// alone is the number of blocks at the beginning that the merger scans. Of the first one only
// the merger knows where the events begin.
func (p *pipeline) alone() int {
	if p.opt.Workers == 1 {
		return soloBlocks
	}
	return 1
}

// maxCutSearch bounds how far back from its end a block is searched for an event.
const maxCutSearch = 1 << 20

// lastEvent returns where the last event in b[:end] seems to begin, 0 if none does.
func lastEvent(b []byte, end int) int {
	for k := end; k > max(0, end-maxCutSearch); {
		k = bytes.LastIndexByte(b[:k], '{')
		if k <= 0 {
			return 0
		}
		p, line := k-1, false
		for p > 0 && b[p] <= ' ' {
			line = line || b[p] == '\n'
			p--
		}
		if b[p] == '}' && line && eventStart(b, k, end) == stOK { // events one a line
			return k
		}
		if b[p] != ',' {
			continue
		}
		for p--; p > 0 && b[p] <= ' '; p-- {
		}
		if p > 0 && b[p] == '}' && eventStart(b, k, end) == stOK {
			return k
		}
	}
	return 0
}

// worker scans blocks until there are no more.
func (p *pipeline) worker(id int) {
	s := takeScanner(&p.opt, id)
	for blk := range p.work {
		s.res = results.Get().(*result)
		s.scan(blk.buf, 0, blk.end, false)
		blk.res = s.res
		close(blk.done)
	}
	s.giveBack()
}

// scan scans events from b[from] on into s.res, which it empties first.
func (s *scanner) scan(b []byte, from, end int, eof bool) {
	s.res.reset()
	s.marks.piece++
	s.res.worker = s.worker
	s.res.next, s.res.status = s.events(b, from, end, eof)
	s.share()
}
