package servertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// VLLMOmni behaves as vLLM-Omni does according to its sources. Each of its stages has Quirks.Ranks
// ranks. All stages but the last are language models with a directory for each rank; the last is a
// diffusion stage with one directory for all.
func VLLMOmni(dir string, stages int, q Quirks) *Server {
	s := plain(dir, q)
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter,
		_ *http.Request) {
		fmt.Fprint(w, `{"version":"0.30.0"}`)
	})
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		fields := `"stages":{}`
		if q.Old { // vLLM's own route comes first
			fields = `"profile_prefix":{}`
		}
		paths := `"/start_profile":{}`
		if q.NoRoutes {
			paths = `"/health":{}`
		}
		fmt.Fprintf(w, `{"paths":{%s},"components":{"schemas":{"StartProfileRequest":{"properties":{%s}}}}}`, paths,
			fields)
	})
	on := map[int]time.Time{} // since when each stage has been recording
	asked := func(r *http.Request) []int {
		list, _ := read(r)["stages"].([]any)
		var out []int
		for _, v := range list {
			if n := number(v); n < stages {
				out = append(out, n)
			}
		}
		return out
	}
	answer := func(w http.ResponseWriter, n int) {
		if q.Mute {
			fmt.Fprint(w, `{"status":"SUCCESS"}`)
			return
		}
		for i := range q.Silent {
			if q.Silent[i] < 0 { // the stage reports a failure inside an answer of 200
				fmt.Fprint(w, `[{"supported":false,"error":"Profiling is not enabled."}]`)
				return
			}
		}
		fmt.Fprint(w, "["+strings.TrimSuffix(strings.Repeat("[null],", n), ",")+"]")
	}
	s.mux.HandleFunc("POST /start_profile", func(w http.ResponseWriter, r *http.Request) {
		list := asked(r)
		s.mu.Lock()
		for _, k := range list {
			on[k] = time.Now()
		}
		s.mu.Unlock()
		answer(w, len(list))
	})
	s.mux.HandleFunc("POST /stop_profile", func(w http.ResponseWriter, r *http.Request) {
		list := asked(r)
		for _, k := range list {
			s.mu.Lock()
			was := on[k]
			delete(on, k)
			s.mu.Unlock()
			if !was.IsZero() {
				s.omniStage(k, k == stages-1, was)
			}
		}
		answer(w, len(list))
	})
	return s
}

// plain has what nearly all servers have.
func plain(dir string, q Quirks) *Server {
	s := bare(dir, q)
	s.mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	return s
}

// bare has no routes.
func bare(dir string, q Quirks) *Server {
	if q.Ranks == 0 {
		q.Ranks = 1
	}
	return &Server{q: q, dir: dir, mux: http.NewServeMux()}
}

// omniStage writes the files of one stage; the compression of traces goes on after the answer.
func (s *Server) omniStage(stage int, diffusion bool, now time.Time) {
	id := now.UnixNano()
	if s.q.Coarse {
		id = now.Unix()
	}
	for k := range s.q.Ranks {
		if contains(s.q.Silent, k) {
			continue
		}
		// On hosts that share the directory, ranks have the same numbers in their names.
		local := k
		if s.q.Hosts > 1 {
			local = k % (s.q.Ranks / s.q.Hosts)
		}
		dir := fmt.Sprintf("%s_stage%d_rank%d_%d", now.Add(time.Duration(k)*time.Second).Format("20060102-150405"),
			stage, local, id)
		if diffusion {
			// Each process adds its own time stamp, so the ranks of one start differ if a second
			// ends between them.
			dir = fmt.Sprintf("%s_stage_%d_diffusion_%d",
				now.Add(time.Duration(k/2)*time.Second).Format("20060102-150405"), stage, id)
		}
		if s.q.Hosts > 1 && k >= s.q.Ranks/s.q.Hosts {
			dir += "1" // the other host's clock
		}
		at := filepath.Join(s.dir, dir)
		_ = os.MkdirAll(at, 0o755)
		_ = os.WriteFile(filepath.Join(at, fmt.Sprintf("stacks_cpu_rank%d.txt", local)), []byte("main;run 12\n"), 0o644)
		_ = os.WriteFile(filepath.Join(at, fmt.Sprintf("profiler_out_%d.txt", local)),
			[]byte("Self CPU time total: 1ms\n"), 0o644)
		s.pack(filepath.Join(at, fmt.Sprintf("trace_rank%d.json", local)), k)
	}
}

// pack writes a trace as text, and compresses it in the background as gzip -f does: for a while
// both names exist, and the text is removed when the compressed file is complete.
func (s *Server) pack(path string, rank int) {
	packed := Trace(time.Now(), rank, s.q.Ranks)
	text := Unpacked(packed)
	if contains(s.q.Cut, rank) {
		packed = packed[:len(packed)-20]
	}
	_ = os.WriteFile(path, text, 0o644)
	s.wg.Go(func() {
		s.grow(path+".gz", packed)
		_ = os.Remove(path)
	})
}

// SGLangDiffusion behaves as SGLang's diffusion server does according to its sources.
func SGLangDiffusion(dir string, q Quirks) *Server {
	s := plain(dir, q)
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"paths":{"/start_profile":{},"/stop_profile":{}}}`)
	})
	if q.Foreign {
		s.body = map[string]any{}
	}
	for _, m := range []string{"GET ", "POST "} {
		s.mux.HandleFunc(m+"/start_profile", func(w http.ResponseWriter, r *http.Request) {
			body := read(r)
			for name := range body {
				if !contains([]string{"output_dir", "activities", "with_stack", "record_shapes"}, name) {
					http.Error(w, "unknown field "+name, http.StatusUnprocessableEntity)
					return
				}
			}
			if q.Busy {
				http.Error(w, "encoder not ready", http.StatusServiceUnavailable)
				return
			}
			s.mu.Lock()
			on := s.body != nil
			if !on {
				s.body = body
			}
			s.mu.Unlock()
			if on {
				http.Error(w, "Profiling is already in progress. Call /stop_profile first.", http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, "Profiling started (profile_id=7). Traces will be saved to: %s\n", text(body["output_dir"]))
		})
		s.mux.HandleFunc(m+"/stop_profile", func(w http.ResponseWriter, _ *http.Request) {
			s.mu.Lock()
			body := s.body
			s.body = nil
			s.mu.Unlock()
			if body == nil {
				http.Error(w, "Profiling is not in progress. Call /start_profile first.", http.StatusBadRequest)
				return
			}
			s.named(text(body["output_dir"]),
				func(k int) string { return fmt.Sprintf("7-4_steps-global-rank%d.trace.json.gz", k) })
			if len(q.Silent) > 0 {
				fmt.Fprint(w, "Profiling stopped (profile_id=7) with warnings: GPU Worker: profiler did not start\n")
				return
			}
			fmt.Fprint(w, "Profiling stopped (profile_id=7). Traces saved to SGLANG_TORCH_PROFILER_DIR.\n")
		})
	}
	return s
}

// named writes the traces of all ranks.
func (s *Server) named(dir string, name func(rank int) string) {
	if dir == "" {
		dir = s.dir
	}
	_ = os.MkdirAll(dir, 0o755)
	for k := range s.q.Ranks {
		if contains(s.q.Silent, k) || s.q.NoFiles {
			continue
		}
		b := Trace(time.Now(), k, s.q.Ranks)
		if !strings.HasSuffix(name(k), ".gz") {
			b = Unpacked(b)
		}
		if contains(s.q.Cut, k) {
			b = b[:len(b)-20]
		}
		s.grow(filepath.Join(dir, name(k)), b)
	}
}

// SGLangOmni behaves as sglang-omni does according to its sources: one start begins all stages, it
// is answered before anything is done, and files are compressed after the stop is answered.
func SGLangOmni(dir string, stages []string, q Quirks) *Server {
	s := plain(dir, q)
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, sglangOmniAPI) })
	var run map[string]any
	s.mux.HandleFunc("POST /start_profile", func(w http.ResponseWriter, r *http.Request) {
		body := read(r)
		if text(body["trace_path_template"]) == "" {
			http.Error(w, `{"detail":"no template"}`, http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		if run == nil { // a second start does nothing, and is answered with success
			run = body
		}
		s.mu.Unlock()
		if dir := text(body["event_dir"]); dir != "" { // the API server records events of its own
			_ = os.MkdirAll(dir, 0o755)
			line := fmt.Sprintf(
				`{"request_id":"r1","stage":"coordinator","event_name":"request_admission","timestamp_ns":%d,`+
					`"run_id":%q,"pid":99,"metadata":{}}`, time.Now().UnixNano(), text(body["run_id"]))
			_ = os.WriteFile(filepath.Join(dir, "events_coordinator_99.jsonl"), []byte(line+"\n"), 0o644)
		}
		fmt.Fprintf(w, `{"run_id":%q,"enable_torch":true}`, text(body["run_id"]))
	})
	s.mux.HandleFunc("POST /stop_profile", func(w http.ResponseWriter, r *http.Request) {
		id := text(read(r)["run_id"])
		s.mu.Lock()
		body := run
		if body != nil && text(body["run_id"]) == id {
			run = nil
		} else {
			body = nil // a stop of another run, or a second one
		}
		s.mu.Unlock()
		if body == nil {
			return
		}
		fmt.Fprintf(w, `{"run_id":%q}`, id)
		s.wg.Go(func() {
			for i, stage := range stages {
				base := strings.NewReplacer("{run_id}", id, "{stage}", stage).Replace(text(body["trace_path_template"]))
				_ = os.MkdirAll(filepath.Dir(base), 0o755)
				line := fmt.Sprintf(`{"request_id":"r1","stage":%q,"event_name":"stage_complete","timestamp_ns":%d,"run_id":%q,"pid":%d,"metadata":{}}`,
					stage, time.Now().UnixNano(), id, 100+i)
				_ = os.WriteFile(filepath.Join(filepath.Dir(base), fmt.Sprintf("events_%s_%d.jsonl", stage, 100+i)),
					[]byte(line+"\n"), 0o644)
				for k := range s.q.Ranks {
					if !contains(s.q.Silent, k) {
						s.pack(fmt.Sprintf("%s_pid%d_rank%d.trace.json", base, 100+i, k), k)
					}
				}
			}
		})
	})
	return s
}

// sglangOmniAPI is the part of sglang-omni's own description that is of its profile routes.
const sglangOmniAPI = `{"paths":{"/start_profile":{"post":{"requestBody":{"content":{"application/json":{"schema":` +
	`{"$ref":"#/components/schemas/StartReq"}}}}}},"/start_request_profile":{"post":{"requestBody":{"content":` +
	`{"application/json":{"schema":{"$ref":"#/components/schemas/StartRequestProfileReq"}}}}}}},` +
	`"components":{"schemas":{"StartReq":{"properties":{"run_id":{},"trace_path_template":{},"config":{},"event_dir":{},` +
	`"enable_torch":{}}},"StartRequestProfileReq":{"properties":{"run_id":{},"event_dir":{}}},"StopReq":` +
	`{"properties":{"run_id":{}}}}}}`

// Dynamo is the system server of a Dynamo worker with a vLLM in it, as the runtime of release 1.6.1 was
// seen to answer: a route's handler runs whatever the method is, an empty body is none, and what is no
// JSON is refused before the route is looked for. If it is Old, its routes are those before June 2026.
func Dynamo(dir string, q Quirks) *Server {
	s := bare(dir, q)
	s.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"ready","uptime":{"secs":7,"nanos":0},"endpoints":{}}`)
	})
	base := "/engine/control/"
	if q.Old {
		base = "/engine/"
	}
	say := func(w http.ResponseWriter, code int, body string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
	s.mux.HandleFunc("/engine/", func(w http.ResponseWriter, r *http.Request) {
		body, err := strictly(r)
		switch {
		case err != nil:
			say(w, http.StatusBadRequest, fmt.Sprintf(`{"error":"Invalid JSON","message":%q}`, err.Error()))
		case r.URL.Path == base+"start_profile" && q.Foreign:
			say(w, http.StatusOK, `{"status":"error","message":"profiling is under way"}`)
		case r.URL.Path == base+"start_profile":
			s.mu.Lock()
			s.body, s.said = body, body
			s.mu.Unlock()
			say(w, http.StatusOK, `{"status":"ok","message":"Profiling started"}`)
		case r.URL.Path == base+"stop_profile":
			s.dynamoStop()
			say(w, http.StatusOK, `{"status":"ok","message":"Profiling stopped"}`)
		default:
			say(w, http.StatusNotFound,
				fmt.Sprintf(`{"error":"Route not found","message":"Route %s not found"}`, r.URL.Path))
		}
	})
	return s
}

// dynamoStop writes the traces of a Dynamo worker's vLLM.
func (s *Server) dynamoStop() {
	s.mu.Lock()
	body := s.body
	s.body = nil
	s.mu.Unlock()
	if body == nil {
		return
	}
	prefix := ""
	if p := text(body["profile_prefix"]); p != "" && !s.q.Fixed {
		prefix = p + "_"
	}
	s.named("", func(k int) string {
		return fmt.Sprintf("%sdp0_pp0_tp%d_dcp0_ep0_rank%d.%d.pt.trace.json.gz", prefix, k, k, time.Now().UnixNano())
	})
}

// strictly is a request's body, empty if it has none; the error is that of a body that is no JSON.
func strictly(r *http.Request) (map[string]any, error) {
	body := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return body, nil
}

// TensorRTLLM behaves as trtllm-serve does according to its sources: ranks write JSON that is not packed, and
// a stop is answered when they have.
func TensorRTLLM(dir string, q Quirks) *Server {
	s := plain(dir, q)
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter,
		_ *http.Request) {
		fmt.Fprint(w, `{"version":"1.3.0"}`)
	})
	s.mux.HandleFunc("POST /start_profile", func(w http.ResponseWriter, r *http.Request) {
		body := read(r)
		for name := range body {
			if !contains([]string{"output_dir", "num_steps", "start_step", "activities"}, name) {
				http.Error(w, "unknown field "+name, http.StatusUnprocessableEntity)
				return
			}
		}
		s.mu.Lock()
		s.body = body
		s.mu.Unlock()
		if number(body["num_steps"]) > 0 {
			s.wg.Go(func() {
				s.named(text(body["output_dir"]), trtName)
				s.mu.Lock()
				s.done = true
				s.mu.Unlock()
			})
		}
	})
	s.mux.HandleFunc("POST /stop_profile", func(http.ResponseWriter, *http.Request) {
		s.mu.Lock()
		body, done := s.body, s.done
		s.body, s.done = nil, false
		s.mu.Unlock()
		if body != nil && !done {
			s.named(text(body["output_dir"]), trtName)
		}
	})
	return s
}

// trtName is the name of a rank's trace: its identifier is made of the time and a random number.
func trtName(k int) string { return fmt.Sprintf("trtllm-trace-1790000000-1a2b3c4d-rank-%d.json", k) }
