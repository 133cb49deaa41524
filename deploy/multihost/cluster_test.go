package multihost

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// text is a pipeline of one stage with two ranks, small enough to run twice here.
const text = `
name: text
profiler_config: {profiler: torch}
stage_args:
- stage_id: 0
  stage_name: thinker
  stage_type: llm
  engine_args: {model: builtin/talker, model_arch: llm, tensor_parallel_size: 2}
  final_output: true
  final_output_type: text
`

func textFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// freeAddrs returns addresses that nothing listens on now.
func freeAddrs(t *testing.T, n int) (out []string) {
	t.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		out = append(out, ln.Addr().String())
	}
	return out
}

const clusterToken = "clustertoken"

// cluster starts n NATS servers with JetStream, one that stands alone or a cluster,
// and returns them with their URLs.
func cluster(t *testing.T, n int) (servers []*process, urls []string) {
	t.Helper()
	bin, addrs, routes := build(t, natsServer), freeAddrs(t, n), freeAddrs(t, n)
	for i := range n {
		conf := fmt.Sprintf("server_name: n%d\nlisten: %s\nmax_payload: 8MB\nauthorization { token: %s }\njetstream { store_dir: %q }\n",
			i, addrs[i], clusterToken, t.TempDir())
		if n > 1 {
			conf += fmt.Sprintf("cluster { name: test, listen: %s, routes: [nats://%s] }\n", routes[i],
				strings.Join(routes, ", nats://"))
		}
		path := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, run(t, bin, "-c", path))
		urls = append(urls, "nats://"+addrs[i])
	}
	for _, s := range servers {
		until(t, 20*time.Second, "NATS is ready",
			func() bool { return strings.Contains(s.log.String(), "Server is ready") })
	}
	if n > 1 {
		until(t, 20*time.Second, "a leader", func() bool {
			for _, s := range servers {
				if strings.Contains(s.log.String(), "JetStream cluster new metadata leader") {
					return true
				}
			}
			return false
		})
	}
	return servers, urls
}

// serveOn starts a server with its ranks on a NATS cluster and waits until it serves.
func serveOn(t *testing.T, urls []string, args ...string) (*process, *api) {
	t.Helper()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	args = append([]string{"serve", "--addr", "127.0.0.1:0", "--nats", strings.Join(urls, ","), "--nats-token",
		clusterToken,
		"--runs-dir", filepath.Join(dir, "runs"), "--data-dir", filepath.Join(dir, "data"), "--ready-file", ready},
		args...)
	p := run(t, build(t, kinetoscope), args...)
	var url []byte
	until(t, time.Minute, "the server", func() bool {
		select {
		case <-p.done:
			t.Fatalf("serve ended: %s", p.log)
		default:
		}
		var err error
		url, err = os.ReadFile(ready)
		return err == nil
	})
	return p, &api{client: http.DefaultClient, url: strings.TrimSpace(string(url))}
}

// whole checks that a session has all of its two ranks' recordings and nobody else's.
func whole(t *testing.T, st *session.Status, pipeline string) {
	t.Helper()
	if st.State != session.StateComplete || len(st.Stages) != 1 || len(st.Stages[0].Ranks) != 2 {
		t.Fatalf("session of %s: %+v", pipeline, st)
	}
	for _, r := range st.Stages[0].Ranks {
		if r.Pipeline != pipeline || r.State != protocol.StateComplete || len(r.Artifacts) < 2 {
			t.Errorf("%s: %s is %s (%s) with %d artifacts", pipeline, r.Text(), r.State, r.Reason, len(r.Artifacts))
		}
	}
}

// Two servers and an offline capture on one NATS server: each has its own ranks,
// sessions and artifacts, and no two may have one name.
func TestTwoHubsOnOneServer(t *testing.T) {
	t.Parallel()
	_, urls := cluster(t, 1)
	file := textFile(t)
	var hubs [2]*api
	for i, name := range []string{"one", "two"} {
		_, hubs[i] = serveOn(t, urls, file, "--name", name)
	}
	taken := run(t, build(t, kinetoscope), "serve", file, "--nats", urls[0], "--nats-token", clusterToken, "--name",
		"one", "--runs-dir", t.TempDir())
	<-taken.done
	if code := taken.cmd.ProcessState.ExitCode(); code != 1 ||
		!strings.Contains(taken.log.String(), `"one" is served on this NATS cluster already, by process`) {
		t.Errorf("a second hub of that name: exit code %d: %s", code, taken.log)
	}
	stranger := run(t, build(t, kinetoscope), "serve", file, "--nats", urls[0], "--name", "three", "--runs-dir",
		t.TempDir())
	<-stranger.done
	if code := stranger.cmd.ProcessState.ExitCode(); code != 1 ||
		!strings.Contains(stranger.log.String(), "refuses the token") {
		t.Errorf("no token: exit code %d: %s", code, stranger.log)
	}
	runs := filepath.Join(t.TempDir(), "runs")
	offline := run(t, build(t, kinetoscope), "capture", "--pipeline", file, "--name", "offline", "--nats", urls[0],
		"--nats-token", clusterToken, "--runs-dir", runs)
	t.Run("at once", func(t *testing.T) {
		for i, name := range []string{"one", "two"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for round := range 2 {
					hubs[i].start(t, fmt.Sprint("round", round))
					for range 3 {
						if err := hubs[i].chat(t.Context()); err != nil {
							t.Error(err)
						}
					}
					whole(t, hubs[i].stopWithin(t, stopBound), name)
				}
			})
		}
	})
	<-offline.done
	if code := offline.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("capture on the cluster: exit code %d: %s", code, offline.log)
	}
	for i, name := range []string{"one", "two"} {
		var list struct{ Data []session.Status }
		if err := hubs[i].call(t.Context(), "GET", "/v1/sessions", nil, &list); err != nil || len(list.Data) != 2 {
			t.Errorf("hub %s knows %d sessions, want its own 2 (%v)", name, len(list.Data), err)
		}
	}
	if got, err := filepath.Glob(filepath.Join(runs, "*", "manifest.json")); err != nil || len(got) != 1 {
		t.Errorf("offline runs: %v, %v", got, err)
	}
}

// leader is the number of the server that leads a stream.
func leader(t *testing.T, urls []string, stream string) (n int) {
	t.Helper()
	nc, err := link.Config{URL: strings.Join(urls, ","), Token: clusterToken}.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(s.CachedInfo().Cluster.Leader, "n%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A cluster loses the server that leads the ranks' presence, in the middle of a
// recording. With buckets on three servers the session is whole.
func TestClusterLosesAServer(t *testing.T) {
	t.Parallel()
	servers, urls := cluster(t, 3)
	_, hub := serveOn(t, urls, textFile(t), "--nats-replicas", "3")
	hub.start(t, "failover")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		if err := hub.chat(ctx); err != nil {
			t.Fatal(err)
		}
	}
	servers[leader(t, urls, "KV_"+protocol.BucketRanks)].kill(t) // the worst one to lose
	// long enough for ranks that are not heard of to be lost
	<-time.After(2 * protocol.PresenceTTL)
	took := until(t, time.Minute, "requests go through again", func() bool {
		return hub.healthy(ctx) && hub.chat(ctx) == nil
	})
	t.Logf("requests go through %v after the loss", took.Round(10*time.Millisecond))
	whole(t, hub.stopWithin(t, stopBound), "text")
	hub.start(t, "after")
	if err := hub.chat(ctx); err != nil {
		t.Error(err)
	}
	whole(t, hub.stopWithin(t, stopBound), "text")
}
