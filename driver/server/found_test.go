package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server/discover"
	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// cluster is a Kubernetes API server whose pods come and go; each serves at an address of the loopback.
type cluster struct {
	*discover.API
	mu   sync.Mutex
	pods map[string]string // addresses by name; each runs on the node node-NAME
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{pods: map[string]string{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		items := []any{}
		for name, ip := range c.pods {
			items = append(items, map[string]any{"metadata": map[string]any{"name": name},
				"spec":   map[string]any{"nodeName": "node-" + name},
				"status": map[string]any{"phase": "Running", "podIP": ip}})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]any{}, "items": items})
	}))
	t.Cleanup(srv.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.API = &discover.API{URL: srv.URL, TokenFile: token}
	return c
}

func (c *cluster) set(name, ip string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ip == "" {
		delete(c.pods, name)
		return
	}
	c.pods[name] = ip
}

// podAt serves a vLLM at a port of an address of the loopback, "0" for a free one, and returns the port.
func podAt(t *testing.T, dir, ip, port string, quirks ...servertest.Quirks) string {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, port))
	if err != nil {
		t.Skipf("no second address on the loopback: %v", err)
	}
	srv := servertest.VLLM(dir, append(quirks, servertest.Quirks{})[0])
	web := &httptest.Server{Listener: ln, Config: &http.Server{Handler: srv, ReadHeaderTimeout: time.Minute}}
	web.Start()
	t.Cleanup(func() {
		web.Close()
		srv.Wait()
	})
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

// A fleet follows the pods that match: each is a replica of the stage with a directory by its name, from
// when it is there until it is gone, and a number that is free is given again.
func TestFleetFollowsPods(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	port := podAt(t, filepath.Join(root, "a"), "127.0.0.1", "0")
	podAt(t, filepath.Join(root, "b"), "127.0.0.2", port)
	podAt(t, filepath.Join(root, "c"), "127.0.0.3", port)
	c := newCluster(t)
	c.set("a", "127.0.0.1")
	target, err := ParseTarget("vllm+k8s://inference:" + port + "?labels=app%3Dvllm&stage=decode&dir=" + root + "/{name}")
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	seats := Seats([]Target{target, {Engine: protocol.EngineVLLM, Stage: "decode", URL: "http://127.0.0.9:1", Dir: root}},
		"p", TargetStage)
	f, err := Join(t.Context(), h.Conn(), seats, FleetConfig{Logger: slog.New(slog.DiscardHandler), Later: true,
		Finder: &discover.Finder{API: c.API}, every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ready := func() []string {
		var out []string
		for _, r := range h.Ranks("p") {
			if r.Ready {
				out = append(out, r.StageName+" "+r.Text())
			}
		}
		slices.Sort(out)
		return out
	}
	await := func(what string, want ...string) {
		t.Helper()
		waittest.Until(t, time.Minute, what, func() bool { return slices.Equal(ready(), want) })
	}
	one := protocol.RankID{Pipeline: "p", Stage: TargetStage, Replica: 1}
	two := protocol.RankID{Pipeline: "p", Stage: TargetStage, Replica: 2}
	await("the pod does not join", "decode "+one.Text()) // replica 0 is the one that is named
	c.set("b", "127.0.0.2")
	await("the second pod does not join", "decode "+one.Text(), "decode "+two.Text())
	c.set("a", "")
	await("the first pod does not leave", "decode "+two.Text())
	c.set("c", "127.0.0.3")
	await("the third pod does not take its place", "decode "+one.Text(), "decode "+two.Text())
}

// drives are the servers that the ready ranks of a hub drive, as RANK SERVER.
func drives(h *hub.Hub) []string {
	var out []string
	for _, r := range h.Ranks("p") {
		if r.Ready {
			out = append(out, fmt.Sprintf("%s r%d %s", r.StageName, r.Replica, r.Server))
		}
	}
	slices.Sort(out)
	return out
}

// twoPods serves vLLMs as pods a and b, and returns a target of both in which each has its directory.
func twoPods(t *testing.T, c *cluster, options string) (to Target, a, b string) {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	port := podAt(t, filepath.Join(root, "a"), "127.0.0.1", "0")
	podAt(t, filepath.Join(root, "b"), "127.0.0.2", port)
	c.set("a", "127.0.0.1")
	c.set("b", "127.0.0.2")
	to, err := ParseTarget("vllm+k8s://inference:" + port + "?labels=app%3Dvllm&dir=" + root + "/{name}" + options)
	if err != nil {
		t.Fatal(err)
	}
	return to, "vllm://127.0.0.1:" + port, "vllm://127.0.0.2:" + port
}

// lines is a log whose lines can be asked for.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// Agents of several nodes that find the same servers drive each once and say which another drives; when one
// ends the other has its servers.
func TestAgentsThatFindTheSame(t *testing.T) {
	c := newCluster(t)
	to, a, b := twoPods(t, c, "")
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var agents []*Fleet
	logs := [2]lines{}
	for i := range logs {
		f, err := Join(t.Context(), h.Conn(), Seats([]Target{to}, "p", TargetStage), FleetConfig{Later: true,
			Logger: slog.New(slog.NewTextHandler(&logs[i], nil)), Finder: &discover.Finder{API: c.API},
			every: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		agents = append(agents, f)
	}
	const others = "another process drives a server"
	both := func() bool { // under whichever numbers: they depend on when a place is seen to be free
		var now []string
		for _, r := range h.Ranks("p") {
			if r.Ready {
				now = append(now, r.Server)
			}
		}
		slices.Sort(now)
		return slices.Equal(now, []string{a, b})
	}
	waittest.Until(t, time.Minute, "a server is not driven once", both)
	waittest.Until(t, time.Minute, "no agent says that another drives a server", func() bool {
		return logs[0].has(others) || logs[1].has(others)
	})
	if err := agents[0].Close(); err != nil {
		t.Error(err)
	}
	waittest.Until(t, time.Minute, "the other agent has not both", both)
}

// With agent={node} an agent drives the pods of its own node, and their numbers are different all the same.
func TestAgentsDriveTheirNodes(t *testing.T) {
	c := newCluster(t)
	to, a, b := twoPods(t, c, "&agent={node}")
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	join := func(node string) *Fleet {
		f, err := Join(t.Context(), h.Conn(), Seats([]Target{to}, "p", TargetStage), FleetConfig{Later: true,
			Node: node, Finder: &discover.Finder{API: c.API}, every: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	defer join("node-b").Close()
	waittest.Until(t, time.Minute, "the node's pod does not join", func() bool {
		return slices.Equal(drives(h), []string{"vllm r0 " + b})
	})
	defer join("node-a").Close()
	waittest.Until(t, time.Minute, "the other node's pod does not join", func() bool {
		return slices.Equal(drives(h), []string{"vllm r0 " + b, "vllm r1 " + a})
	})
}

// Of a server with several stages that is found each stage takes part.
func TestFoundServersOfSeveralStages(t *testing.T) {
	dir := t.TempDir()
	srv := servertest.SGLangOmni(dir, omniStages, servertest.Quirks{})
	web := httptest.NewServer(srv)
	defer func() {
		web.Close()
		srv.Wait()
	}()
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	c := newCluster(t)
	to, err := ParseTarget("sglang-omni+k8s://inference:" + port + "?labels=app%3Domni&stages=" +
		strings.Join(omniStages, ",") + "&dir=" + dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	f, err := Join(t.Context(), h.Conn(), Seats([]Target{to}, "p", TargetStage), FleetConfig{Later: true,
		Finder: &discover.Finder{API: c.API}, every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.set("omni", "127.0.0.1")
	server := " r0 sglang-omni://127.0.0.1:" + port
	waittest.Until(t, time.Minute, "its stages do not join", func() bool {
		return slices.Equal(drives(h), []string{"dit" + server, "talker" + server, "thinker" + server})
	})
	c.set("omni", "")
	waittest.Until(t, time.Minute, "its stages do not leave", func() bool { return len(drives(h)) == 0 })
}

// Targets are found once for a capture, and none is an error; names of servers become parts of directories.
func TestFindTargets(t *testing.T) {
	c := newCluster(t)
	finder := &discover.Finder{API: c.API}
	list := []Target{}
	for _, text := range []string{"vllm://h:1", "sglang+https+k8s://inference:30000?labels=app%3Dsglang&dir=/t/{name}"} {
		target, err := ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, target)
	}
	if _, err := Find(t.Context(), finder, list); err == nil || !strings.Contains(err.Error(), "there is no server") {
		t.Errorf("%v", err)
	}
	c.set("sg-0", "10.0.0.1")
	c.set("sg-1", "fd00::1")
	got, err := Find(t.Context(), finder, list)
	var text []string
	for _, one := range got {
		text = append(text, one.URL+" "+one.Dir)
	}
	want := []string{"http://h:1 ", "https://10.0.0.1:30000 /t/sg-0", "https://[fd00::1]:30000 /t/sg-1"}
	if err != nil || !slices.Equal(text, want) {
		t.Errorf("%q, %v", text, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, finder, list); err == nil {
		t.Error("an interrupted search finds")
	}
}

func TestTargetsThatAreFoundAndLackSomething(t *testing.T) {
	for text, why := range map[string]string{
		"vllm+dns://h":                          "want a port",
		"vllm+k8s://inference:1":                "want labels",
		"vllm+k8s://In_ference:1?labels=a%3Db":  "no namespace",
		"vllm://h:1?labels=a%3Db":               "labels go with +k8s",
		"vllm+dns://h:1?labels=a%3Db":           "labels are of pods",
		"vllm+consul://h:1":                     "is no way to a server",
		"vllm+dns://h:1?agent={node}":           "goes with +k8s",
		"vllm://h:1?agent={node}":               "goes with +k8s",
		"vllm+https+dns://_http._tcp.h?dir=x/y": "absolute path",
	} {
		if _, err := ParseTarget(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %s", text, err, why)
		}
	}
}
