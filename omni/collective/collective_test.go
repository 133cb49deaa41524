package collective

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// makers are the implementations that the contract holds for.
var makers = []struct {
	name  string
	sizes []int
	make  func(t *testing.T, size int) []Group
}{
	{"solo", []int{1}, func(*testing.T, int) []Group { return []Group{Solo()} }},
	{"pipe", []int{1, 2, 4, 8}, func(t *testing.T, size int) []Group {
		g, err := Pipe(size, "test")
		if err != nil {
			t.Fatal(err)
		}
		return g
	}},
	{"tcp", []int{1, 2, 4, 8}, tcpGroup},
	{"hosts", []int{2, 4}, func(t *testing.T, size int) []Group { // over TLS
		if runtime.GOOS != "linux" {
			t.Skip("a second address of this host")
		}
		ls, addrs := listenersOn(t, "127.0.0.2:0", size) // dialled from 127.0.0.1
		return joinAll(t, ls, addrs)
	}},
}

func tcpGroup(t *testing.T, size int) []Group {
	t.Helper()
	ls, addrs := listeners(t, size)
	return joinAll(t, ls, addrs)
}

func joinAll(t *testing.T, ls []*Listener, addrs []string) []Group {
	t.Helper()
	size := len(ls)
	groups, errs := make([]Group, size), make([]error, size)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	each(size, func(r int) { groups[r], errs[r] = Join(ctx, ls[r], r, addrs, "test") })
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return groups
}

// networkOf is where a rank listens.
func networkOf(addr string) string {
	network, _, _ := strings.Cut(addr, keyMark)
	return network
}

func listeners(t *testing.T, n int) (ls []*Listener, addrs []string) {
	t.Helper()
	return listenersOn(t, "127.0.0.1:0", n)
}

func listenersOn(t *testing.T, addr string, n int) (ls []*Listener, addrs []string) {
	t.Helper()
	for range n {
		l, err := Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		ls, addrs = append(ls, l), append(addrs, l.Addr())
	}
	return ls, addrs
}

func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// contract runs f for every implementation and size, and closes the groups.
func contract(t *testing.T, least int, f func(t *testing.T, groups []Group)) {
	for _, m := range makers {
		for _, size := range m.sizes {
			if size < least {
				continue
			}
			t.Run(fmt.Sprint(m.name, size), func(t *testing.T) {
				groups := m.make(t, size)
				defer each(size, func(r int) {
					if err := errors.Join(groups[r].Close(), groups[r].Close()); err != nil {
						t.Error(err)
					}
				})
				for r, g := range groups {
					if g.Rank() != r || g.Size() != size {
						t.Fatalf("rank %d of %d, want %d of %d", g.Rank(), g.Size(), r, size)
					}
				}
				f(t, groups)
			})
		}
	}
}

// tree sums parts as the package documents.
func tree(parts [][]float32) []float32 {
	for len(parts) > 1 {
		var next [][]float32
		for i := 0; i < len(parts); i += 2 {
			s := make([]float32, len(parts[i]))
			for j := range s {
				s[j] = parts[i][j] + parts[i+1][j]
			}
			next = append(next, s)
		}
		parts = next
	}
	return parts[0]
}

func patterns(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

func TestCollectives(t *testing.T) {
	contract(t, 1, func(t *testing.T, groups []Group) {
		ctx := context.Background()
		size := len(groups)
		for _, n := range []int{0, 1, 7, 1000, 70_000} {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			in := make([][]float32, size)
			var all []float32
			for i := range in {
				for range n {
					in[i] = append(in[i], float32(r.NormFloat64()*float64(int(1)<<r.IntN(30))))
				}
				all = append(all, in[i]...)
			}
			msg := bytes.Repeat([]byte("x\x00y"), n)
			want := patterns(tree(in))
			each(size, func(i int) {
				g := groups[i]
				buf := append([]float32(nil), in[i]...)
				if err := g.AllReduce(ctx, nil, buf); err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(want, patterns(buf)) {
					t.Errorf("rank %d: sum of %d differs from the tree's", i, n)
				}
				out := make([]float32, len(all))
				if err := g.AllGather(ctx, nil, out, in[i]); err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(patterns(all), patterns(out)) {
					t.Errorf("rank %d: gather of %d differs", i, n)
				}
				var mine []byte
				if i == 0 {
					mine = msg
				}
				got, err := g.Broadcast(ctx, nil, mine)
				if err != nil || !bytes.Equal(got, msg) {
					t.Errorf("rank %d: broadcast of %d bytes: %d bytes, %v", i, len(msg), len(got), err)
				}
				if err := g.Barrier(ctx, nil); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// A barrier ends on no rank before every rank has begun it.
func TestBarrierWaits(t *testing.T) {
	contract(t, 2, func(t *testing.T, groups []Group) {
		var mu sync.Mutex
		begun := 0
		each(len(groups), func(i int) {
			for round := 1; round <= 50; round++ {
				mu.Lock()
				begun++
				mu.Unlock()
				if err := groups[i].Barrier(context.Background(), nil); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if begun < round*len(groups) {
					t.Errorf("rank %d left barrier %d when %d had begun", i, round, begun)
				}
				mu.Unlock()
			}
		})
	})
}

func TestArgumentsDoNotBreakTheGroup(t *testing.T) {
	contract(t, 1, func(t *testing.T, groups []Group) {
		each(len(groups), func(i int) {
			if err := groups[i].AllGather(context.Background(), nil, make([]float32, 1000),
				make([]float32, 3)); err == nil {
				t.Error("gather of the wrong length succeeded")
			}
			if err := groups[i].Barrier(context.Background(), nil); err != nil {
				t.Error(err)
			}
		})
	})
}

// The rank that dies is named by every other, in the pending call and all later ones.
func TestDeadPeer(t *testing.T) {
	contract(t, 2, func(t *testing.T, groups []Group) {
		dead := len(groups) - 1
		each(len(groups), func(i int) {
			g := groups[i].(*mesh)
			buf := make([]float32, 200_000)
			if i == dead { // in the middle of its first frame
				g.seq++
				g.frameFloats(buf)
				g.send(i^1, opAllReduce, 0)
				g.mu.Lock()
				g.err = ErrFailed // a dead process says nothing
				close(g.failed)
				g.mu.Unlock()
				for _, p := range g.peers {
					if p != nil {
						_ = p.conn.Close()
					}
				}
				return
			}
			var err error
			for err == nil {
				err = g.AllReduce(context.Background(), nil, buf)
			}
			pe, ok := errors.AsType[*PeerError](err)
			if !errors.Is(err, ErrFailed) || !ok || pe.Rank != dead {
				t.Errorf("rank %d: %v, want rank %d named", i, err, dead)
			}
			if again := g.Barrier(context.Background(), nil); !errors.Is(again, ErrFailed) {
				t.Errorf("rank %d: later call: %v", i, again)
			}
		})
	})
}

func TestCancel(t *testing.T) {
	contract(t, 2, func(t *testing.T, groups []Group) {
		ctx, cancel := context.WithCancel(context.Background())
		each(len(groups), func(i int) {
			if i == 0 { // never joins in; the others wait for it
				cancel()
				return
			}
			var err error
			if i == 1 {
				err = groups[i].Barrier(ctx, nil)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("rank 1: %v", err)
				}
			} else {
				err = groups[i].Barrier(context.Background(), nil)
				if pe, ok := errors.AsType[*PeerError](err); !ok || pe.Rank != 1 {
					t.Errorf("rank %d: %v, want rank 1 named", i, err)
				}
			}
			if !errors.Is(err, ErrFailed) {
				t.Errorf("rank %d: %v", i, err)
			}
		})
		var err error
		for err == nil { // what rank 1 sent before it gave up still counts
			err = groups[0].Barrier(context.Background(), nil)
		}
		if !errors.Is(err, ErrFailed) {
			t.Errorf("rank 0: %v", err)
		}
	})
}

func TestCloseEndsPendingCall(t *testing.T) {
	contract(t, 2, func(t *testing.T, groups []Group) {
		each(2, func(i int) {
			if i == 1 {
				_ = groups[0].Close()
				return
			}
			if err := groups[0].AllReduce(context.Background(), nil, make([]float32, 10)); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	})
}

// A rank that closes after its last collective does not spoil it for those who are still
// in it; the next one fails and names it.
func TestLeaveAfterLast(t *testing.T) {
	for range 20 {
		contract(t, 2, func(t *testing.T, groups []Group) {
			each(len(groups), func(i int) {
				if err := groups[i].AllReduce(context.Background(), nil, make([]float32, 100)); err != nil {
					t.Errorf("rank %d: %v", i, err)
				}
				if i > 0 {
					_ = groups[i].Close()
				}
			})
			err := groups[0].Barrier(context.Background(), nil)
			if pe, ok := errors.AsType[*PeerError](err); !ok || pe.Rank == 0 || !errors.Is(err, ErrFailed) {
				t.Errorf("after the others closed: %v", err)
			}
		})
	}
}

func TestOutOfStep(t *testing.T) {
	contract(t, 2, func(t *testing.T, groups []Group) {
		each(len(groups), func(i int) {
			err := groups[i].AllReduce(context.Background(), nil, make([]float32, 10+i))
			if !errors.Is(err, ErrFailed) {
				t.Errorf("rank %d: %v", i, err)
			}
		})
		err := groups[0].Barrier(context.Background(), nil)
		if err == nil || !strings.Contains(err.Error(), "out of step") {
			t.Error(err)
		}
	})
}

func TestSilentPeerTimesOut(t *testing.T) {
	contract(t, 2, func(t *testing.T, groups []Group) {
		g := groups[0].(*mesh)
		g.timeout = 20 * time.Millisecond
		err := g.Barrier(context.Background(), nil)
		if pe, ok := errors.AsType[*PeerError](err); !ok || pe.Rank != 1 ||
			!strings.Contains(err.Error(), "no answer within 20ms") {
			t.Error(err)
		}
	})
}

func TestSolo(t *testing.T) {
	g := Solo()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Barrier(ctx, nil); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	if err := g.Barrier(context.Background(), nil); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
}

func TestJoinRefuses(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, c := range []struct {
		name  string
		join1 func(l *Listener, addrs []string) (Group, error) // rank 1; rank 0 expects a group of 2 named "a"
		want  string
		ours  bool // rank 0 fails too
	}{
		{"id", func(l *Listener, a []string) (Group, error) { return Join(ctx, l, 1, a, "b") }, `group "b", want "a"`,
			false},
		{"size", func(l *Listener, a []string) (Group, error) {
			return Join(ctx, l, 1, append(a, a[1], a[1]), "a")
		}, "group size 4, want 2", true},
		{"rank", func(l *Listener, a []string) (Group, error) {
			return Join(ctx, l, 1, []string{a[0], a[1]}[:2], "a")
		}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ls, addrs := listeners(t, 2)
			ctx0, cancel0 := context.WithCancel(ctx)
			var g0 Group
			var err0, err1 error
			each(2, func(r int) {
				if r == 0 {
					g0, err0 = Join(ctx0, ls[0], 0, addrs, "a")
					return
				}
				var g1 Group
				g1, err1 = c.join1(ls[1], addrs)
				if g1 != nil {
					_ = g1.Close()
				}
				if err1 != nil && !c.ours {
					cancel0()
				}
			})
			cancel0()
			if g0 != nil {
				_ = g0.Close()
			}
			if c.want == "" {
				if err0 != nil || err1 != nil {
					t.Error(err0, err1)
				}
				return
			}
			for _, err := range []error{err0, err1} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			}
		})
	}
}

func TestJoinChecksArguments(t *testing.T) {
	for _, c := range []struct {
		rank, size int
		id, want   string
	}{{0, 3, "a", "power of two"}, {0, 16, "a", "up to 8"}, {0, 0, "a", "size 0"}, {2, 2, "a", "rank 2"},
		{-1, 2, "a", "rank -1"}, {0, 2, "", "id of 0"}, {0, 2, strings.Repeat("x", 300), "id of 300"}} {
		if _, err := Join(context.Background(), nil, c.rank, make([]string, c.size), c.id); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Strangers at the door, silent, garbled or gone, do not keep a group from joining.
func TestJoinSurvivesStrangers(t *testing.T) {
	ls, addrs := listeners(t, 2)
	for _, hello := range []string{"", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "KSCG\x01",
		helloMagic + strings.Repeat("\xff", 10)} {
		c, err := net.Dial("tcp", networkOf(addrs[0]))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte(hello))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	each(2, func(r int) {
		g, err := Join(ctx, ls[r], r, addrs, "a")
		if err != nil {
			t.Error(err)
			return
		}
		if err := g.Barrier(ctx, nil); err != nil {
			t.Error(err)
		}
		_ = g.Close()
	})
}

func TestJoinVersion(t *testing.T) {
	ls, addrs := listeners(t, 2)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	each(2, func(r int) {
		if r == 0 {
			_, err := Join(ctx, ls[0], 0, addrs, "a")
			if err == nil || !strings.Contains(err.Error(), "protocol version 9, want 2") {
				t.Error(err)
			}
			return
		}
		c, err := dialAs(ls[1], addrs[0])
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		b := []byte(helloMagic)
		for _, v := range []int{9, 2, 1, 0, 1} {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		_, _ = c.Write(append(b, 'a', 1))
		answer, _ := io.ReadAll(c)
		if !strings.Contains(string(answer), "protocol version 9, want 2") {
			t.Errorf("answer %q", answer)
		}
	})
}

// dialAs connects with the key of l to whoever has the address.
func dialAs(l *Listener, addr string) (net.Conn, error) {
	network, key, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	return tls.Dial("tcp", network, l.id.config(key))
}

// A stranger that knows the group's name, its size and its addresses has no key of it: it
// takes no rank's place, as who dials and as who is dialled, and the group is made without it.
func TestStrangersTakeNoRanksPlace(t *testing.T) {
	ls, addrs := listeners(t, 2)
	strangers, theirs := listeners(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	groups := make([]Group, 2)
	errs := make([]error, 2)
	each(3, func(r int) {
		if r < 2 {
			if r == 1 { // the stranger comes first
				<-ctx.Done()
				return
			}
			groups[0], errs[0] = Join(t.Context(), ls[0], 0, addrs, "a")
			return
		}
		defer cancel()
		for range 3 {
			c, err := dialAs(strangers[0], addrs[0])
			if err != nil {
				continue
			}
			b := []byte(helloMagic)
			for _, v := range []int{Version, 2, 1, 0, 1} {
				b = binary.LittleEndian.AppendUint16(b, uint16(v))
			}
			_, _ = c.Write(append(b, 'a', 1))
			if answer, err := io.ReadAll(c); err == nil && len(answer) > 0 {
				t.Errorf("a stranger is answered %q", answer)
			}
			_ = c.Close()
		}
		// Rank 0's address with another key behind it: somebody stands where it should be.
		network := networkOf(theirs[0])
		_, key, _ := splitAddr(addrs[0])
		short, end := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer end()
		if g, err := Join(short, ls[1], 1, []string{network + keyMark + key, addrs[1]}, "a"); err == nil {
			_ = g.Close()
			t.Error("a rank joins a stranger")
		}
		var wg sync.WaitGroup
		wg.Go(func() { groups[1], errs[1] = Join(t.Context(), ls[1], 1, addrs, "a") })
		wg.Wait()
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestJoinTimesOut(t *testing.T) {
	ls, addrs := listeners(t, 2)
	_ = ls[0].Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for r := range 2 {
		l := ls[1]
		if _, err := Join(ctx, l, r, addrs, "a"); !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), fmt.Sprintf("ranks [%d]", 1-r)) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	// The listener is of use again.
	if _, err := net.Dial("tcp", networkOf(addrs[1])); err != nil {
		t.Error(err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(append(appendHeader(nil, opAllReduce, 1, 4, 7), 1, 2, 3, 4))
	f.Add(appendHeader(nil, opBroadcast, 0, MaxMessage, 1))
	f.Add(append(appendHeader(nil, opAbort, noRank, 3, 0), "why"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := readFrame(bytes.NewReader(b), make(chan []byte))
		if err != nil {
			return
		}
		again := append(appendHeader(nil, fr.op, fr.round, len(fr.payload), fr.seq), fr.payload...)
		if !bytes.HasPrefix(b, again) {
			t.Errorf("% x read as % x", b, again)
		}
		if cap(fr.payload) > len(b)+growChunk {
			t.Errorf("%d bytes made a buffer of %d", len(b), cap(fr.payload))
		}
	})
}

func BenchmarkAllReduce(b *testing.B) {
	for _, n := range []int{384, 64 * 384} {
		ls := make([]*Listener, 2)
		addrs := make([]string, 2)
		for i := range ls {
			l, err := Listen("127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			ls[i], addrs[i] = l, l.Addr()
		}
		groups := make([]Group, 2)
		each(2, func(r int) { groups[r], _ = Join(context.Background(), ls[r], r, addrs, "bench") })
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(4 * n))
			b.ReportAllocs()
			each(2, func(r int) {
				buf := make([]float32, n)
				for range b.N {
					if err := groups[r].AllReduce(context.Background(), nil, buf); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		each(2, func(r int) { _ = groups[r].Close(); _ = ls[r].Close() })
	}
}

// Between hosts what ranks say to each other is encrypted, on one host it is not.
func TestConnectionsBetweenHostsAreEncrypted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a second address of this host")
	}
	for addr, want := range map[string]bool{"127.0.0.1:0": false, "127.0.0.2:0": true} {
		ls, addrs := listenersOn(t, addr, 2)
		for r, g := range joinAll(t, ls, addrs) {
			if _, ok := g.(*mesh).peers[1-r].conn.(*tls.Conn); ok != want {
				t.Errorf("%s: TLS %v, want %v", addr, ok, want)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
