package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// elsewhere is the built-in omni pipeline with its last stage on another host.
const elsewhereYAML = `
name: omni
model: kinetoscope-omni
profiler_config: {profiler: torch}
stage_args:
  - stage_id: 0
    stage_name: thinker
    stage_type: llm
    engine_args: {model: builtin/thinker, model_arch: llm, tensor_parallel_size: 2, load_format: dummy, seed: 1}
    final_output: true
    final_output_type: text
  - stage_id: 1
    stage_name: talker
    stage_type: llm
    engine_input_source: [0]
    engine_args: {model: builtin/talker, model_arch: llm, load_format: dummy, seed: 2}
    default_sampling_params: {frames_per_token: 2}
  - stage_id: 2
    stage_name: code2wav
    stage_type: generation
    engine_input_source: [1]
    runtime: {process: external}
    engine_args: {model: builtin/code2wav, model_arch: vocoder, load_format: dummy, seed: 3}
    final_output: true
    final_output_type: audio
`

// relay is a connection between a rank and its hub that can be cut. While it is cut it holds the
// data under way, and delivers them when it is mended, as TCP does.
type relay struct {
	ln    net.Listener
	to    string
	wg    sync.WaitGroup
	mu    sync.Mutex
	whole chan struct{} // closed while it is whole
	conns map[net.Conn]bool
	shut  bool
}

func newRelay(to string) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{ln: ln, to: to, whole: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(r.whole)
	r.wg.Go(r.accept)
	return r, nil
}

func (r *relay) accept() {
	for {
		in, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.pass()
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		if !r.keep(in, out) {
			return
		}
		r.wg.Go(func() { r.copy(out, in) })
		r.wg.Go(func() { r.copy(in, out) })
	}
}

// keep remembers connections for close, false if that has been.
func (r *relay) keep(list ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range list {
		if r.shut {
			_ = c.Close()
		}
		r.conns[c] = true
	}
	return !r.shut
}

// pass waits while the cable is cut.
func (r *relay) pass() {
	r.mu.Lock()
	whole := r.whole
	r.mu.Unlock()
	<-whole
}

func (r *relay) copy(to, from net.Conn) {
	_, _ = io.Copy(to, gate{from, r}) // either end may go
	_, _ = to.Close(), from.Close()
}

// gate reads over the cable.
type gate struct {
	io.Reader
	over *relay
}

// Read waits while the cable is cut.
func (g gate) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	g.over.pass()
	return n, err
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.whole = make(chan struct{})
}

func (r *relay) mend() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.whole:
	default:
		close(r.whole)
	}
	return nil
}

func (r *relay) close() {
	_ = r.mend()
	_ = r.ln.Close()
	r.mu.Lock()
	r.shut = true
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// apart is a rank that was started by hand on another host, and its connection.
type apart struct {
	cable *relay
	cmd   *exec.Cmd
}

// startApart starts the last stage's rank behind a cable, once the hub says where ranks join.
func (p *product) startApart(ctx context.Context) error {
	var join *url.URL
	err := until(ctx, readyTimeout, "the hub to say where ranks join", func() bool {
		text, err := os.ReadFile(p.joinAt())
		if err == nil {
			join, err = url.Parse(strings.TrimSpace(string(text)))
		}
		return err == nil && join.Host != ""
	})
	if err != nil {
		return err
	}
	cable, err := newRelay(join.Host)
	if err != nil {
		return err
	}
	join.Host = cable.ln.Addr().String()
	spool := filepath.Join(filepath.Dir(p.data), "elsewhere")
	cmd := exec.Command(p.binary, "worker", "--pipeline", "omni", "--stage", "2", "--rank", "0", "--spool-dir", spool)
	cmd.Env = append(os.Environ(), "KINETOSCOPE_NATS="+join.String())
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		cable.close()
		return err
	}
	p.apart = &apart{cable, cmd}
	return nil
}

func (p *product) stopApart() {
	if p.apart == nil {
		return
	}
	_ = p.apart.cable.mend()
	_ = p.apart.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.apart.cmd.Wait() // how it ended is in the log
	p.apart.cable.close()
	p.apart = nil
}

func (p *product) joinAt() string { return p.readyAt + ".join" }

// cutCable cuts a rank off from its hub.
func cutCable(_ context.Context, t target) (func() error, error) {
	if t.p.apart == nil {
		return nil, errors.New("no rank is behind a cable")
	}
	t.p.apart.cable.cut()
	return t.p.apart.cable.mend, nil
}

// writeElsewhere writes the deployment of which a rank is on another host.
func writeElsewhere(dir string) (string, error) {
	path := filepath.Join(dir, "omni.yaml")
	if err := os.WriteFile(path, []byte(elsewhereYAML), 0o600); err != nil {
		return "", fmt.Errorf("deployment: %w", err)
	}
	return path, nil
}
