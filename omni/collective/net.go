package collective

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/trace"
)

// A frame is a header and its payload, little endian:
//
//	0  u8   op
//	1  u8   round within the collective
//	2  u16  0
//	4  u32  payload bytes
//	8  u64  sequence number of the collective
//
// An abort frame's round is the rank to blame (noRank: none), its payload the reason. A
// leave frame says that a rank closed its end: peers that are still in a collective that
// it has finished go on, the next one fails.
const headerSize = 16

type op uint8

const (
	opAllReduce op = iota + 1
	opAllGather
	opBroadcast
	opBarrier
	opAbort
	opLeave
)

var opNames = [...]string{opAllReduce: "allreduce", opAllGather: "allgather", opBroadcast: "broadcast",
	opBarrier: "barrier", opAbort: "abort", opLeave: "leave"}

func (o op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint8(o))
}

const (
	noRank = 0xff
	// inboxFrames is how far a peer may run ahead: a rank that has all it needs for one
	// collective can begin the next before its neighbour has left the first.
	inboxFrames = 4
	// maxReason bounds the text of an abort frame.
	maxReason = 1 << 10
	// abortGrace bounds how long a failing rank tries to tell its peers why.
	abortGrace = 200 * time.Millisecond
	// growChunk bounds what a header alone makes a rank allocate: a payload's buffer
	// grows as its bytes arrive.
	growChunk = 1 << 20
)

type frame struct {
	op      op
	round   uint8
	seq     uint64
	payload []byte
}

// peer is the connection to one other rank.
type peer struct {
	rank  int
	conn  net.Conn
	inbox chan frame
	spare chan []byte   // payload buffers to use again
	left  chan struct{} // closed when the peer has closed its end
}

// errLeft is the reason of a group that a peer has closed.
var errLeft = errors.New("closed the group")

// mesh is a Group over one connection to each other rank.
type mesh struct {
	rank, size int
	id         string
	nameID     profiler.Name
	timeout    time.Duration
	peers      []*peer // by rank; nil at rank
	seq        uint64
	out        []byte // frame being sent
	msg        []byte // last broadcast's result

	leaver atomic.Int32 // 1 + a rank that has left
	mu     sync.Mutex
	err    error
	failed chan struct{} // closed when err is set
	wg     sync.WaitGroup
	timer  *time.Timer
}

// newMesh owns conns from now on: conns[r] leads to rank r.
func newMesh(rank int, conns []net.Conn, id string) *mesh {
	g := &mesh{
		rank: rank, size: len(conns), id: id, nameID: profiler.Intern(id), timeout: DefaultTimeout,
		peers: make([]*peer, len(conns)), failed: make(chan struct{}), timer: time.NewTimer(time.Hour),
	}
	g.timer.Stop()
	for r, c := range conns {
		if r == rank {
			continue
		}
		p := &peer{rank: r, conn: c, inbox: make(chan frame, inboxFrames), spare: make(chan []byte, inboxFrames),
			left: make(chan struct{})}
		g.peers[r] = p
		g.wg.Go(func() { g.read(p) })
	}
	return g
}

func (g *mesh) Rank() int { return g.rank }
func (g *mesh) Size() int { return g.size }

// read is the goroutine of one peer: it notices its death even between collectives. It
// closes the connection, after the group failed, when the peer has nothing more to say:
// closing with bytes unread resets the connection and can lose the abort frame. A rank that
// leaves in good order does not wait for that.
func (g *mesh) read(p *peer) {
	br := bufio.NewReaderSize(p.conn, 64<<10)
	defer func() {
		<-g.failed
		if !errors.Is(g.cause(), ErrClosed) {
			_, _ = io.Copy(io.Discard, br)
		}
		_ = p.conn.Close()
	}()
	for {
		f, err := readFrame(br, p.spare)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("connection closed by peer")
			}
			g.fail(&PeerError{Rank: p.rank, Op: "receive", Err: err})
			return
		}
		switch f.op {
		case opAbort:
			g.fail(g.abortError(p, f))
			return
		case opLeave:
			g.leaver.Store(int32(p.rank) + 1)
			close(p.left)
			return
		}
		select {
		case p.inbox <- f:
		case <-g.failed:
			return
		}
	}
}

func (g *mesh) abortError(p *peer, f frame) error {
	blame := int(f.round)
	if blame >= g.size || blame == g.rank {
		blame = p.rank
	}
	return &PeerError{Rank: blame, Op: "receive", Err: fmt.Errorf("rank %d gave up: %s", p.rank, f.payload)}
}

func readFrame(r io.Reader, spare chan []byte) (frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	f := frame{op: op(h[0]), round: h[1], seq: binary.LittleEndian.Uint64(h[8:])}
	n := int(binary.LittleEndian.Uint32(h[4:]))
	if f.op < opAllReduce || f.op > opLeave || n > MaxMessage || f.op >= opAbort && n > maxReason || h[2]|h[3] != 0 {
		return frame{}, fmt.Errorf("invalid frame header % x", h)
	}
	var buf []byte
	select {
	case buf = <-spare:
	default:
	}
	for got := 0; got < n; {
		step := min(n-got, max(growChunk, cap(buf)-got))
		if cap(buf) < got+step {
			buf = append(buf[:got], make([]byte, step)...)
		}
		buf = buf[:got+step]
		if _, err := io.ReadFull(r, buf[got:]); err != nil {
			return frame{}, fmt.Errorf("in a payload of %d bytes: %w", n, err)
		}
		got += step
	}
	f.payload = buf[:n]
	return f, nil
}

// fail records the first reason, tells the peers and ends every connection.
func (g *mesh) fail(err error) {
	g.mu.Lock()
	if g.err != nil {
		g.mu.Unlock()
		return
	}
	g.err = fmt.Errorf("%w: %w", ErrFailed, err)
	close(g.failed)
	g.mu.Unlock()

	how, blame := opAbort, uint8(noRank)
	if errors.Is(err, ErrClosed) {
		how = opLeave
	}
	if pe, ok := errors.AsType[*PeerError](err); ok {
		blame = uint8(pe.Rank)
	}
	reason := err.Error()
	reason = reason[:min(len(reason), maxReason)]
	b := appendHeader(nil, how, blame, len(reason), 0)
	b = append(b, reason...)
	deadline := time.Now().Add(abortGrace)
	for _, p := range g.peers {
		if p == nil {
			continue
		}
		_ = p.conn.SetDeadline(deadline)
		_, _ = p.conn.Write(b) // best effort: the closed connection says it too
		if how == opLeave {
			_ = p.conn.Close()
			continue
		}
		if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		} else {
			_ = p.conn.Close()
		}
	}
}

func (g *mesh) cause() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Close ends the group and waits for its goroutines.
func (g *mesh) Close() error {
	g.fail(ErrClosed)
	g.wg.Wait()
	return nil
}

func appendHeader(b []byte, o op, round uint8, n int, seq uint64) []byte {
	b = append(b, byte(o), round, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return binary.LittleEndian.AppendUint64(b, seq)
}

// begin opens a collective: it checks the group and ties it to ctx until end.
func (g *mesh) begin(ctx context.Context, o op) (end func() bool, err error) {
	if err := g.cause(); err != nil {
		return nil, fmt.Errorf("collective %s: %w", o, err)
	}
	if err := ctx.Err(); err != nil {
		g.fail(err)
		return nil, fmt.Errorf("collective %s: %w", o, g.cause())
	}
	if r := g.leaver.Load(); r > 0 {
		g.fail(&PeerError{Rank: int(r) - 1, Op: o.String(), Err: errLeft})
		return nil, fmt.Errorf("collective %s: %w", o, g.cause())
	}
	g.seq++
	if ctx.Done() == nil {
		return func() bool { return true }, nil
	}
	return context.AfterFunc(ctx, func() { g.fail(context.Cause(ctx)) }), nil
}

// send sends g.out, whose first headerSize bytes it fills in.
func (g *mesh) send(to int, o op, round int) error {
	p := g.peers[to]
	appendHeader(g.out[:0], o, uint8(round), len(g.out)-headerSize, g.seq)
	err := p.conn.SetWriteDeadline(time.Now().Add(g.timeout))
	if err == nil {
		_, err = p.conn.Write(g.out)
	}
	if err == nil {
		return nil
	}
	g.timer.Reset(abortGrace)
	select {
	case <-g.failed: // the peer's last frame says more than the failed write
		g.timer.Stop()
	case <-g.timer.C:
		g.fail(&PeerError{Rank: to, Op: o.String(), Err: err})
	}
	return g.broken(o)
}

func (g *mesh) broken(o op) error {
	<-g.failed
	return fmt.Errorf("collective %s: %w", o, g.cause())
}

// receive waits for the frame that the collective needs next from a rank. give takes
// its payload back.
func (g *mesh) receive(from int, o op, round, want int) ([]byte, error) {
	p := g.peers[from]
	var f frame
	select {
	case f = <-p.inbox:
	default:
		g.timer.Reset(g.timeout)
		select {
		case f = <-p.inbox:
			g.timer.Stop()
		case <-p.left:
			// What it sent before counts: it has been put to the inbox before left closed.
			select {
			case f = <-p.inbox:
			default:
				g.fail(&PeerError{Rank: from, Op: o.String(), Err: errLeft})
				return nil, g.broken(o)
			}
		case <-g.failed:
			return nil, g.broken(o)
		case <-g.timer.C:
			g.fail(&PeerError{Rank: from, Op: o.String(), Err: fmt.Errorf("no answer within %v", g.timeout)})
			return nil, g.broken(o)
		}
	}
	if f.op != o || f.seq != g.seq || int(f.round) != round || want >= 0 && len(f.payload) != want {
		g.fail(&PeerError{Rank: from, Op: o.String(), Err: fmt.Errorf(
			"ranks are out of step: got %s %d round %d of %d bytes, want %s %d round %d of %d bytes",
			f.op, f.seq, f.round, len(f.payload), o, g.seq, round, want)})
		return nil, g.broken(o)
	}
	return f.payload, nil
}

func (g *mesh) give(from int, b []byte) {
	select {
	case g.peers[from].spare <- b[:0]:
	default:
	}
}

func (g *mesh) frameFloats(x []float32) {
	n := headerSize + 4*len(x)
	if cap(g.out) < n {
		g.out = make([]byte, n)
	}
	g.out = g.out[:n]
	b := g.out[headerSize:]
	for i, v := range x {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
}

func (g *mesh) frameBytes(x []byte) {
	g.out = append(append(g.out[:0], make([]byte, headerSize)...), x...)
}

// AllReduce sums by recursive doubling: in round i a rank exchanges what it has with the
// rank whose number differs in bit i, so that it holds the sum of 2^(i+1) neighbours.
func (g *mesh) AllReduce(ctx context.Context, t *profiler.Track, buf []float32) error {
	if 4*len(buf) > MaxMessage {
		return fmt.Errorf("collective allreduce: %d elements, limit %d", len(buf), MaxMessage/4)
	}
	end, err := g.begin(ctx, opAllReduce)
	if err != nil {
		return err
	}
	defer end()
	sp := g.span(t, nameAllReduce, opAllReduce, profiler.Float32, len(buf), len(buf), 4)
	defer sp.End()
	for round := range bits.Len(uint(g.size)) - 1 {
		other := g.rank ^ 1<<round
		g.frameFloats(buf)
		if err := g.send(other, opAllReduce, round); err != nil {
			return err
		}
		b, err := g.receive(other, opAllReduce, round, 4*len(buf))
		if err != nil {
			return err
		}
		for i := range buf {
			buf[i] += math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		g.give(other, b)
	}
	return nil
}

// AllGather gathers by recursive doubling: round i exchanges 2^i parts.
func (g *mesh) AllGather(ctx context.Context, t *profiler.Track, out, in []float32) error {
	if len(out) != g.size*len(in) || 4*len(out) > MaxMessage {
		return fmt.Errorf("collective allgather: out has %d elements, want %d times %d, limit %d", len(out), g.size,
			len(in), MaxMessage/4)
	}
	end, err := g.begin(ctx, opAllGather)
	if err != nil {
		return err
	}
	defer end()
	sp := g.span(t, nameAllGather, opAllGather, profiler.Float32, len(in), len(out), 4)
	defer sp.End()
	n := len(in)
	copy(out[g.rank*n:], in)
	for round := range bits.Len(uint(g.size)) - 1 {
		other := g.rank ^ 1<<round
		have, get := g.rank>>round<<round, other>>round<<round
		g.frameFloats(out[have*n : (have+1<<round)*n])
		if err := g.send(other, opAllGather, round); err != nil {
			return err
		}
		part := out[get*n : (get+1<<round)*n]
		b, err := g.receive(other, opAllGather, round, 4*len(part))
		if err != nil {
			return err
		}
		for i := range part {
			part[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		g.give(other, b)
	}
	return nil
}

// Broadcast sends rank 0's message down the binomial tree: in round i the ranks below
// 2^i, which have it, pass it to those 2^i above.
func (g *mesh) Broadcast(ctx context.Context, t *profiler.Track, msg []byte) ([]byte, error) {
	if g.rank == 0 && len(msg) > MaxMessage {
		return nil, fmt.Errorf("collective broadcast: %d bytes, limit %d", len(msg), MaxMessage)
	}
	end, err := g.begin(ctx, opBroadcast)
	if err != nil {
		return nil, err
	}
	defer end()
	sp := g.span(t, nameBroadcast, opBroadcast, profiler.Uint8, len(msg), len(msg), 1)
	defer sp.End()
	for round := range bits.Len(uint(g.size)) - 1 {
		lo := 1 << round
		switch {
		case g.rank < lo:
			if g.rank+lo < g.size {
				g.frameBytes(msg)
				if err := g.send(g.rank+lo, opBroadcast, round); err != nil {
					return nil, err
				}
			}
		case g.rank < 2*lo:
			b, err := g.receive(g.rank-lo, opBroadcast, round, -1)
			if err != nil {
				return nil, err
			}
			g.msg = append(g.msg[:0], b...)
			g.give(g.rank-lo, b)
			msg = g.msg
		}
	}
	return msg, nil
}

// Barrier is an AllReduce of nothing.
func (g *mesh) Barrier(ctx context.Context, t *profiler.Track) error {
	end, err := g.begin(ctx, opBarrier)
	if err != nil {
		return err
	}
	defer end()
	sp := g.span(t, nameBarrier, opBarrier, profiler.Uint8, 0, 0, 1)
	defer sp.End()
	for round := range bits.Len(uint(g.size)) - 1 {
		other := g.rank ^ 1<<round
		g.frameBytes(nil)
		if err := g.send(other, opBarrier, round); err != nil {
			return err
		}
		b, err := g.receive(other, opBarrier, round, 0)
		if err != nil {
			return err
		}
		g.give(other, b)
	}
	return nil
}

var (
	nameAllReduce = profiler.Intern(trace.NameAllReduce)
	nameAllGather = profiler.Intern(trace.NameAllGather)
	nameBroadcast = profiler.Intern(trace.NameBroadcast)
	nameBarrier   = profiler.Intern("c10d::barrier")

	argCollective = profiler.Intern(trace.ArgCollective)
	argIn         = profiler.Intern(trace.ArgInNelems)
	argOut        = profiler.Intern(trace.ArgOutNelems)
	argDType      = profiler.Intern(trace.ArgDType)
	argGroupSize  = profiler.Intern(trace.ArgGroupSize)
	argGroupName  = profiler.Intern(trace.ArgGroupName)
	argSeq        = profiler.Intern(trace.ArgSeq)

	opProfilerNames = [...]profiler.Name{
		opAllReduce: profiler.Intern("allreduce"), opAllGather: profiler.Intern("allgather"),
		opBroadcast: profiler.Intern("broadcast"), opBarrier: profiler.Intern("barrier"),
	}
	dtypeFloat = profiler.Intern("Float")
	dtypeByte  = profiler.Intern("Byte")
)

func (g *mesh) span(t *profiler.Track, n profiler.Name, o op, d profiler.DType, in, out, elem int) profiler.Span {
	sp := t.Begin(n, profiler.CategoryOp)
	if !t.Enabled() {
		return sp
	}
	dt := dtypeByte
	if d == profiler.Float32 {
		dt = dtypeFloat
	}
	return sp.Str(argCollective, opProfilerNames[o]).Str(argDType, dt).
		Int(argIn, int64(in)).Int(argOut, int64(out)).Int(argGroupSize, int64(g.size)).
		Str(argGroupName, g.nameID).Int(argSeq, int64(g.seq)).
		Shape(d, in).Bytes(int64(in * elem))
}
