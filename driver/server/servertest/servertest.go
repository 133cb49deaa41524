// Package servertest has servers whose profile routes behave as those of real vLLM and SGLang
// servers do (docs/servers.md), for tests of drivers. They serve no model; they write traces of a
// few operators, in pieces, as the engines do.
package servertest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Quirks are the ways in which a server may differ from one that does what its documentation says.
type Quirks struct {
	Ranks    int           // 0 means 1
	Slow     time.Duration // how long a stop takes to write
	Silent   []int         // ranks that write nothing and answer 200
	Cut      []int         // ranks whose files end in the middle
	NoFiles  bool          // no worker writes anything, as with a delay that is never reached
	Old      bool          // a vLLM before prefixes, numbers of steps and 409
	Foreign  bool          // another client's profiling is under way
	Late     bool          // a stop is answered before the files are written
	NoRoutes bool          // started without a profiler
	Token    string        // that requests must have
	Hosts    int           // hosts that write to one directory, each counting its ranks from 0
	Coarse   bool          // a vLLM-Omni that names directories by the second, as real ones do
	Mute     bool          // a vLLM-Omni that answers success without its stages
	Busy     bool          // not ready yet
	Queued   bool          // an SGLang that writes after its answer, with a marker for each trace
	Failed   []int         // ranks whose export fails, as their markers say
	Fixed    bool          // a vLLM in a Dynamo worker that ignores the prefix of a start
	Hangs    bool          // a vLLM that has lost a worker: a stop is never answered
	DP       int           // data-parallel replicas of a vLLM or an SGLang, each of Ranks
	Experts  bool          // those of a vLLM are one job, as with a model of experts, and their names differ
	Groups   int           // groups of an SGLang's ranks that share the work of attention; Old counts them as replicas
	Labels   string        // the name of the field with which an SGLang is asked for more labels
}

// Server is one server. Its methods are safe for concurrent use.
type Server struct {
	q     Quirks
	sg    bool
	dir   string
	mux   *http.ServeMux
	wg    sync.WaitGroup
	seq   atomic.Int64
	asked atomic.Int64 // requests counted in its metrics
	mu    sync.Mutex
	body  map[string]any // of the running session; nil: none
	said  map[string]any // body of the last start
	done  bool           // it has stopped by itself
	log   []string
}

// VLLM is vLLM 0.32.0 that writes to dir.
func VLLM(dir string, q Quirks) *Server { return newServer(dir, q, false) }

// SGLang is SGLang 0.5.23 whose default directory is dir.
func SGLang(dir string, q Quirks) *Server { return newServer(dir, q, true) }

func newServer(dir string, q Quirks, sg bool) *Server {
	if q.Ranks == 0 {
		q.Ranks = 1
	}
	s := &Server{q: q, sg: sg, dir: dir, mux: http.NewServeMux()}
	if q.Foreign {
		s.body = map[string]any{"output_dir": dir}
	}
	s.mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"tiny","object":"model"}]}`)
	})
	if sg {
		s.mux.HandleFunc("GET /get_server_info", s.info)
		if q.Labels != "" {
			s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w,
					`{"paths":{"/start_profile":{}},"components":{"schemas":{"ProfileReq":{"properties":{"output_dir":{},"num_steps":{},"activities":{},"with_stack":{},%q:{}}}}}}`, q.Labels)
			})
		}
		s.mux.HandleFunc("/start_profile", s.sglangStart)
		s.mux.HandleFunc("/stop_profile", s.sglangStop)
		return s
	}
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter,
		_ *http.Request) {
		fmt.Fprint(w, `{"version":"0.32.0"}`)
	})
	s.mux.HandleFunc("GET /openapi.json", s.openapi)
	if !q.NoRoutes {
		s.mux.HandleFunc("POST /start_profile", s.vllmStart)
		s.mux.HandleFunc("POST /stop_profile", s.vllmStop)
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.log = append(s.log, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if s.q.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.q.Token {
		http.Error(w, `{"error":"Unauthorized"}`, http.StatusUnauthorized)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Wait returns when the server has written all its files.
func (s *Server) Wait() { s.wg.Wait() }

// WriteTo makes the server write to another directory. Call it before the first start.
func (s *Server) WriteTo(dir string) { s.dir = dir }

// Body returns the body of the last start.
func (s *Server) Body() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said
}

// Recording reports whether the server's profiler is on.
func (s *Server) Recording() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body != nil && !s.done
}

// Asked returns the requests that the server got, in order.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

func (s *Server) openapi(w http.ResponseWriter, _ *http.Request) {
	paths := map[string]any{"/health": map[string]any{}}
	schemas := map[string]any{}
	if !s.q.NoRoutes {
		paths["/start_profile"], paths["/stop_profile"] = map[string]any{}, map[string]any{}
	}
	if !s.q.Old {
		schemas["StartProfileRequest"] = map[string]any{"properties": map[string]any{
			"profile_prefix": map[string]any{}, "delay_iterations": map[string]any{},
			"max_iterations": map[string]any{}}}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"paths": paths, "components": map[string]any{"schemas": schemas}})
}

func (s *Server) info(w http.ResponseWriter, _ *http.Request) {
	says := map[string]any{"version": "0.5.23", "tp_size": s.q.Ranks, "pp_size": 1, "dp_size": max(s.q.DP, 1),
		"attn_dp_size": max(s.q.Groups, 1), "enable_dp_attention": s.q.Groups > 1}
	if s.q.Old {
		delete(says, "attn_dp_size")
		says["dp_size"] = max(s.q.DP, s.q.Groups, 1)
	}
	_ = json.NewEncoder(w).Encode(says)
}

// sglangName is the name of the trace of a rank of all replicas, as SGLang makes it.
func (s *Server) sglangName(k int, ns int64) string {
	name := fmt.Sprintf("%d.%07d-TP-%d", ns/1e9, ns%1e7, k%s.q.Ranks)
	switch {
	case s.q.DP > 1:
		name += fmt.Sprintf("-DP-%d", k/s.q.Ranks)
	case s.q.Groups > 1:
		name += fmt.Sprintf("-DP-%d", k*s.q.Groups/s.q.Ranks)
	}
	return name + ".trace.json.gz"
}

// vllmName is the name of the k-th rank's trace, which a start's prefix precedes.
func (s *Server) vllmName(k int, ns int64) string {
	rank := k % s.q.Ranks
	if s.q.Experts {
		return fmt.Sprintf("dp%d_pp0_tp%d_dcp0_ep%d_rank%d.%d.pt.trace.json.gz", k/s.q.Ranks, rank, k, rank, ns)
	}
	return fmt.Sprintf("rank%d.%d.pt.trace.json.gz", rank, ns)
}

// AskedMetrics is how often the server was asked for its metrics.
func (s *Server) AskedMetrics() int64 { return s.asked.Load() }

// metrics answers with the metrics of a busy server: at each call ten more requests have waited for
// a second.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	name := "vllm:num_requests_waiting"
	hist := "vllm:time_to_first_token_seconds"
	if s.sg {
		name, hist = "sglang:num_queue_reqs", "sglang:time_to_first_token_seconds"
	}
	n := 10 * s.asked.Add(1)
	fmt.Fprintf(w, "# TYPE %s gauge\n%s 12\n", name, name)
	if !s.sg {
		fmt.Fprint(w, "# TYPE vllm:num_preemptions counter\n")
		for k := range max(s.q.DP, 1) {
			fmt.Fprintf(w, "vllm:num_preemptions_total{engine=\"%d\"} 0\n", k)
		}
	}
	fmt.Fprintf(w, "# TYPE %s histogram\n", hist)
	fmt.Fprintf(w, "%s_bucket{le=\"0.5\"} 0\n%s_bucket{le=\"2\"} %d\n%s_bucket{le=\"+Inf\"} %d\n", hist, hist, n, hist,
		n)
	fmt.Fprintf(w, "%s_sum %d\n%s_count %d\n", hist, n, hist, n)
}

// read is a request's body, empty if it has none.
func read(r *http.Request) map[string]any {
	body := map[string]any{}
	_ = json.NewDecoder(r.Body).Decode(&body)
	return body
}

func (s *Server) vllmStart(w http.ResponseWriter, r *http.Request) {
	body := read(r)
	if n, ok := body["max_iterations"]; ok {
		if f, isNumber := n.(float64); !isNumber || f != float64(int(f)) {
			http.Error(w, `{"error":{"message":"max_iterations: Input should be a valid integer","code":400}}`,
				http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	on := s.body != nil
	if !on {
		s.body, s.done = body, false
	}
	s.mu.Unlock()
	switch {
	case on && !s.q.Old:
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w,
			`{"error":{"message":"A profiling session is already active. Call /stop_profile before starting another session.","type":"Conflict","code":409}}`)
	case !on && number(body["max_iterations"]) > 0:
		s.wg.Go(func() { // the workers stop by themselves; the front end goes on
			s.write(body, false)
			s.mu.Lock()
			s.done = true
			s.mu.Unlock()
		})
	}
}

// vllmStop answers 200 whether or not there was anything to stop, when all files are written.
func (s *Server) vllmStop(_ http.ResponseWriter, r *http.Request) {
	if s.q.Hangs {
		<-r.Context().Done()
		return
	}
	s.mu.Lock()
	body, done := s.body, s.done
	s.body, s.done = nil, false
	s.mu.Unlock()
	if body == nil {
		return
	}
	if s.q.Late {
		s.wg.Go(func() { s.write(body, true) })
		return
	}
	if !done {
		s.write(body, false)
	}
	s.frontend(body)
}

func (s *Server) sglangStart(w http.ResponseWriter, r *http.Request) {
	body := read(r)
	s.mu.Lock()
	s.said = body
	if s.body == nil || s.done { // without a session a stop does nothing, and is answered with success
		s.body, s.done = body, false
		if number(body["num_steps"]) > 0 {
			s.wg.Go(func() { // it stops by itself
				s.write(body, false)
				s.mu.Lock()
				s.done = true
				s.mu.Unlock()
			})
		}
	}
	s.mu.Unlock()
	fmt.Fprint(w, "Start profiling.\n")
}

func (s *Server) sglangStop(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	body, done := s.body, s.done
	s.body, s.done = nil, false
	s.mu.Unlock()
	if body == nil || done {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	if s.q.Queued {
		s.wg.Go(func() { s.write(body, false) })
		fmt.Fprint(w, "Profiler stopped; trace export queued asynchronously.\n")
		return
	}
	s.write(body, false)
	fmt.Fprint(w, "Stop profiling. This will take some time.\n")
}

func number(v any) int {
	f, _ := v.(float64)
	return int(f)
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// write writes the workers' traces.
func (s *Server) write(body map[string]any, late bool) {
	if late {
		time.Sleep(s.q.Slow)
	}
	if s.q.NoFiles {
		return
	}
	dir, prefix := s.dir, text(body["profile_prefix"])
	if d := text(body["output_dir"]); d != "" {
		dir = d
		_ = os.MkdirAll(dir, 0o755)
	}
	var wg sync.WaitGroup
	for k := range s.q.Ranks * max(s.q.DP, 1) {
		if contains(s.q.Silent, k) {
			continue
		}
		ns := time.Now().UnixNano() + s.seq.Add(1)
		name := s.sglangName(k, ns)
		if !s.sg {
			name = s.vllmName(k, ns)
			if prefix != "" {
				name = prefix + "_" + name
			}
			table := fmt.Sprintf("profiler_out_%d.txt", k%s.q.Ranks) // every round overwrites it, and every replica
			if prefix != "" {
				named, _, _ := strings.Cut(name, ".")
				table = named + ".profiler_out.txt"
			}
			_ = os.WriteFile(filepath.Join(dir, table), []byte("Self CPU time total: 1ms\n"), 0o644)
		}
		b := trace(time.Now(), k%s.q.Ranks, s.q.Ranks, s.q.PID(k))
		if s.q.Experts {
			b = trace(time.Now(), k, s.q.Ranks*s.q.DP, s.q.PID(k))
		}
		if contains(s.q.Cut, k) {
			b = b[:len(b)-20]
		}
		wg.Go(func() {
			s.grow(filepath.Join(dir, name), b)
			if s.q.Queued {
				said := "ok"
				if contains(s.q.Failed, k) {
					said = "error: disk full"
				}
				time.Sleep(s.q.Slow)
				_ = os.WriteFile(filepath.Join(dir, name+".1a2b.export"), []byte(said+"\n"), 0o644)
			}
		})
	}
	wg.Wait()
}

// grow writes a file in pieces: the file exists at once, empty.
func (s *Server) grow(path string, b []byte) {
	f, err := os.Create(path)
	if err != nil {
		return
	}
	defer f.Close()
	const pieces = 4
	for i := range pieces {
		time.Sleep(s.q.Slow / pieces)
		if _, err := f.Write(b[i*len(b)/pieces : (i+1)*len(b)/pieces]); err != nil {
			return
		}
	}
}

// frontend writes the files that vLLM's API server leaves at a stop.
func (s *Server) frontend(body map[string]any) {
	name := fmt.Sprintf("vm_26277.async_llm.%d.pt.trace.json.gz", time.Now().UnixNano())
	if p := text(body["profile_prefix"]); p != "" {
		name = p + "_" + name
	}
	s.grow(filepath.Join(s.dir, name), Trace(time.Now(), -1, 0))
}

func contains[T comparable](list []T, v T) bool { return slices.Contains(list, v) }

// Unpacked returns the text of a compressed trace.
func Unpacked(packed []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	b, _ := io.ReadAll(z)
	return b
}

// PID is the process that is the k-th worker of all replicas. No host has a process with so high a number,
// and the ids of one replica's workers do not follow each other.
func (q Quirks) PID(k int) int {
	ranks := max(q.Ranks, 1)
	rank, replica := k%ranks, k/ranks
	if rank%2 == 1 {
		replica = max(q.DP, 1) - 1 - replica
	}
	return 1<<23 + replica*ranks + rank
}

// Trace returns a compressed trace of two operators under a step's label, as torch writes it for a
// rank of a world; if rank is negative, for a process without a rank.
func Trace(start time.Time, rank, world int) []byte { return trace(start, rank, world, 7) }

// trace is Trace of a process of this host.
func trace(start time.Time, rank, world, pid int) []byte {
	info := ""
	host, _ := os.Hostname()
	if rank >= 0 {
		info = fmt.Sprintf(`"distributedInfo": {"backend": "gloo", "rank": %d, "world_size": %d, "pg_count": 1},`, rank,
			world)
	}
	doc := fmt.Sprintf(` {
  "schemaVersion": 1, "deviceProperties": [], "record_shapes": 0, %s "host_name": %q,
  "displayTimeUnit": "ms", "baseTimeNanoseconds": %d,
  "traceEvents": [
  { "ph": "M", "name": "process_name", "ts": 0.000, "pid": %d, "tid": 0, "args": { "name": "VLLM::Worker" } },
  { "ph": "X", "cat": "user_annotation", "name": "execute_context_0(0)_generation_2(2)", "pid": 7, "tid": 8, "ts": 5.000, "dur": 60.000, "args": { "External id": 3 } },
  { "ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 7, "tid": 8, "ts": 10.000, "dur": 20.000, "args": { "External id": 1 } },
  { "ph": "X", "cat": "cpu_op", "name": "aten::relu", "pid": 7, "tid": 8, "ts": 40.000, "dur": 5.000, "args": { "External id": 2 } }
  ], "traceName": "/tmp/tmp%s.json" }`, info, host, start.UnixNano(), pid, strings.Repeat("x", 8))
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(doc))
	_ = z.Close()
	return b.Bytes()
}
