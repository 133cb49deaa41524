package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
	"github.com/kinetoscope/kinetoscope/driver/native"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestTorchAttach records Python programs as a user does, on real torch: make interop
// names the interpreter.
func TestTorchAttach(t *testing.T) {
	python := os.Getenv("KINETOSCOPE_PYTHON")
	if python == "" {
		t.Skip("KINETOSCOPE_PYTHON is not set: run make interop")
	}
	example, err := filepath.Abs("../../examples/torch/attach/generate.py")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/torch",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"jsonpath": jsonPath, "onenumber": oneNumber(t)},
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("PYTHON", python)
			e.Setenv("PYTHONPATH", os.Getenv("PYTHONPATH"))
			e.Setenv("EXAMPLE", example)
			return nil
		},
	})
}

// collected tells when the hub has a rank's recording.
type collected struct {
	*driver.Rank
	once sync.Once
	done chan struct{}
}

// Abort implements rank.Handler: the hub sends it after a collection.
func (c *collected) Abort(ctx context.Context, r protocol.AbortRequest) (protocol.RankStatus, error) {
	s, err := c.Rank.Abort(ctx, r)
	c.once.Do(func() { close(c.done) })
	return s, err
}

// attachMain is a program that attaches, as a Python program does with kinetoscope.attach:
// it makes decode steps and ends with "once" when its recording was collected, else at an
// interrupt. Its other arguments are rank and world size.
func attachMain() {
	if err := attachRank(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "attach:", err)
		os.Exit(1)
	}
}

// trainerMain is a PyTorch process with KINETO_USE_DAEMON, as libkineto makes it: it asks
// for configs until an interrupt or, where it is a command's, until it has recorded. With
// "serve ADDR" it is a server, which serves at ADDR a moment later and ends by an interrupt.
func trainerMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tr, err := kinetodtest.Run(os.Getenv("KINETO_IPC_SOCKET_DIR"), kinetodtest.Behaviour{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "trainer:", err)
		os.Exit(1)
	}
	done := tr.Recorded()
	if os.Getenv("KINETO_USE_DAEMON") == "" || len(os.Args) > 2 { // no command of a capture, or a server
		done = nil
	}
	if len(os.Args) > 2 {
		load := time.AfterFunc(time.Second, func() {
			if ln, err := net.Listen("tcp", os.Args[2]); err == nil {
				context.AfterFunc(ctx, func() { _ = ln.Close() })
			}
		})
		defer load.Stop()
	}
	select {
	case <-ctx.Done():
	case <-done:
	}
	tr.Stop()
	if bad := tr.Bad(); len(bad) > 0 {
		fmt.Fprintln(os.Stderr, "trainer: the daemon hurts libkineto:", bad)
		os.Exit(1)
	}
}

func attachRank(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	world, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	id := protocol.RankID{Pipeline: "attached", Rank: number}
	nc, err := link.Config{URL: os.Getenv("KINETOSCOPE_NATS"), As: id.Identity()}.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	spool, err := os.MkdirTemp("", "spool")
	if err != nil {
		return err
	}
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = "torch"
	info := protocol.RankInfo{RankID: id, StageName: "decoder", StageType: "llm",
		WorldSize: world, Engine: "native", Profiler: &cfg, Ready: true, SpoolDir: spool}
	rec := profiler.New(profiler.Config{Process: "decoder"})
	h := &collected{Rank: native.NewRank(rec, info, spool), done: make(chan struct{})}
	defer h.Close()
	m, err := rank.Join(ctx, nc, info, h)
	if err != nil {
		return err
	}
	defer m.Leave(context.WithoutCancel(ctx)) //nolint:errcheck // the hub may be gone
	h.Joined(m)
	track := rec.Track("engine")
	defer track.Close()
	name := profiler.Intern(trace.NameDecodeStep)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	done := h.done
	if args[0] != "once" {
		done = nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-done:
			return nil
		case <-tick.C:
			h.BeginStep()
			track.Begin(name, profiler.CategoryAnnotation).End()
			h.Step()
		}
	}
}
