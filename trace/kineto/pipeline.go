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
	results sync.Pool
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
	p.results.New = func() any { return new(result) }
	p.wg.Go(func() { p.feed(ctx) })
	m := newMerger(p, path)
	err = m.run(ctx)
	cancel()
	for range p.ordered { // unblocks the feeder
	}
	p.wg.Wait()
	p.giveBack()
	if err != nil {
		return nil, err
	}
	if p.err != nil {
		return nil, fmt.Errorf("read trace %s: %w", path, p.err)
	}
	return m.docs, nil
}

// buffer returns a buffer of n bytes and pad, waiting for one if enough are out.
func (p *pipeline) buffer(ctx context.Context, n int) ([]byte, error) {
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
	if cap(b) < n+pad {
		if old, ok := blocks.Get().(*[]byte); ok && cap(*old) >= n+pad {
			b = *old
		} else {
			b = make([]byte, n+pad)
		}
	}
	return b[:n+pad], nil
}

// blocks are the buffers of reads that are over, for the next file.
var blocks sync.Pool

// giveBack leaves the buffers to the next read. Nothing uses them any more.
func (p *pipeline) giveBack() {
	for {
		select {
		case b := <-p.free:
			blocks.Put(&b)
		default:
			return
		}
	}
}

// feed unpacks the text into blocks. Each but the last is cut where an event seems to
// begin; what is behind the cut opens the next block.
func (p *pipeline) feed(ctx context.Context) {
	defer close(p.ordered)
	defer close(p.work)
	var carry []byte
	for n := 0; ; n++ {
		window := min(p.opt.Window, firstWindow<<min(2*n, 20))
		b, err := p.buffer(ctx, window+len(carry))
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
		if n > 0 { // only the merger knows where the events of the first block begin
			blk.done = make(chan struct{})
			if n <= p.opt.Workers {
				p.wg.Go(func() { p.worker(n) })
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
	s := newScanner(&p.opt, id)
	for blk := range p.work {
		s.res = p.results.Get().(*result)
		s.scan(blk.buf, 0, blk.end, false)
		blk.res = s.res
		close(blk.done)
	}
}

func newScanner(o *Options, worker int) *scanner {
	s := &scanner{opt: o, worker: worker}
	s.texts.id(nil) // text 0 is the empty one
	return s
}

// scan scans events from b[from] on into s.res, which it empties first.
func (s *scanner) scan(b []byte, from, end int, eof bool) {
	s.res.reset()
	s.marks.piece++
	s.res.worker = s.worker
	s.res.next, s.res.status = s.events(b, from, end, eof)
	s.share()
}
