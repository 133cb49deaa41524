package server

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const slow = 30 * time.Millisecond

// Every stage of a vLLM-Omni is recorded by a call of its own and gets what its directories
// hold, whole: packing goes on after the stop is answered.
func TestStagesOfVLLMOmni(t *testing.T) {
	for part := range omniStages {
		u := openUnit(t, protocol.EngineVLLMOmni, servertest.Quirks{Ranks: 2, Slow: slow},
			func(to *Target) { to.Part = part })
		_, s, over, err := u.record(nil)
		if err != nil || s.State != protocol.StateStopped || len(over.Others) != 1 ||
			over.Others[0].State != protocol.StateStopped {
			t.Fatalf("stage %d: %+v, %+v, %v", part, s, over, err)
		}
		for _, files := range [][]rank.File{over.Files, over.Others[0].Files} {
			if got := names(files); got != "profiler_out.txt stacks_cpu.txt trace.json.gz" {
				t.Errorf("stage %d: %s", part, got)
			}
			wholeTraces(t, files)
		}
	}
}

// What a vLLM-Omni appends to its concurrency trace meanwhile comes home with its first stage; what was there
// before does not, and the file stays the server's.
func TestConcurrencyTraceComesHome(t *testing.T) {
	line := func(n int) string {
		return fmt.Sprintf(
			`{"event": "stage_completed", "stage_gen_time_ms": 1.5, "stage_id": 0, "request_id": "r%d", `+
				`"ts_monotonic_s": 5, "ts_unix_s": %d}`+"\n", n, 1_790_000_000+n)
	}
	for part := range 2 {
		u := openUnit(t, protocol.EngineVLLMOmni, servertest.Quirks{}, func(to *Target) { to.Part = part })
		u.write("other.jsonl", `{"a":1}`+"\n")
		u.write("trace.jsonl", line(1))
		q := request(nil)
		if _, err := u.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		u.write("trace.jsonl", line(1)+line(2)+line(3)+`{"event": "cut`)
		if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
		if err != nil {
			t.Fatal(err)
		}
		f := over.Files[0]
		if part > 0 {
			if f.Kind == protocol.KindEvents {
				t.Errorf("stage %d has %s", part, names(over.Files))
			}
			continue
		}
		src, c, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(src); f.Kind != protocol.KindEvents || err != nil || string(b) != line(2)+line(3) {
			t.Errorf("%s: %q, %v", names(over.Files), b, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		if left := u.left(); !slices.Contains(left, "trace.jsonl") {
			t.Errorf("the server's file is gone: %q", left)
		}
	}
}

// Ranks of two hosts that share a directory have the same number in their names; their
// traces say which they are.
func TestLocalRanksOfTwoHosts(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLMOmni, servertest.Quirks{Ranks: 4, Hosts: 2, Slow: slow}, nil)
	_, s, over, err := u.record(nil)
	if err != nil || s.State != protocol.StateStopped || len(over.Others) != 3 {
		t.Fatalf("%+v, %+v, %v", s, over, err)
	}
	for _, o := range over.Others {
		if o.State != protocol.StateStopped || !strings.Contains(names(o.Files), "trace.json.gz") {
			t.Errorf("rank %d: %s %s: %s", o.ID.Rank, o.State, o.Reason, names(o.Files))
		}
	}
}

// Two sessions within a second would have one directory: the second waits.
func TestDirectoriesNamedByTheSecond(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLMOmni, servertest.Quirks{Coarse: true}, nil)
	u.d.time.apart = realTiming().apart
	var files []rank.File
	for range 2 {
		_, s, over, err := u.record(nil)
		if err != nil || s.State != protocol.StateStopped {
			t.Fatalf("%+v, %v", s, err)
		}
		files = append(files, over.Files...)
	}
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f.Path] {
			t.Errorf("%s is of both sessions", f.Path)
		}
		seen[f.Path] = true
	}
	wholeTraces(t, files)
}

func TestRanksThatLeaveNothing(t *testing.T) {
	for _, tt := range []struct {
		engine protocol.Engine
		q      servertest.Quirks
		state  protocol.RankState // of rank 1
		why    string
	}{
		{protocol.EngineVLLMOmni, servertest.Quirks{Ranks: 2, Slow: slow, Silent: []int{1}}, protocol.StateFailed,
			"left no trace"},
		{protocol.EngineVLLMOmni, servertest.Quirks{Ranks: 2, Slow: slow, Mute: true}, protocol.StateStopped, ""},
		{protocol.EngineVLLMOmni, servertest.Quirks{Ranks: 2, Slow: slow, Cut: []int{1}}, protocol.StateFailed,
			"it is cut"},
		{protocol.EngineSGLangDiffusion, servertest.Quirks{Ranks: 2, Silent: []int{1}}, protocol.StateFailed,
			"left no trace"},
		{protocol.EngineSGLangOmni, servertest.Quirks{Ranks: 2, Slow: slow, Silent: []int{1}}, protocol.StateFailed,
			"left no trace"},
		{protocol.EngineDynamo, servertest.Quirks{Ranks: 2, Silent: []int{1}}, protocol.StateFailed, "left no trace"},
		{protocol.EngineDynamo, servertest.Quirks{Ranks: 2, Old: true}, protocol.StateStopped, ""},
		{protocol.EngineTensorRTLLM, servertest.Quirks{Ranks: 2, Silent: []int{1}}, protocol.StateFailed,
			"left no trace"},
		{protocol.EngineSGLang, servertest.Quirks{Ranks: 2, Slow: slow, Queued: true}, protocol.StateStopped, ""},
		{protocol.EngineSGLang, servertest.Quirks{Ranks: 2, Slow: slow, Queued: true, Failed: []int{1}},
			protocol.StateFailed, "disk full"},
	} {
		t.Run(fmt.Sprintf("%s %+v", tt.engine, tt.q), func(t *testing.T) {
			t.Parallel()
			u := openUnit(t, tt.engine, tt.q, nil)
			_, s, over, err := u.record(nil)
			if err != nil || s.State != protocol.StateStopped || len(over.Others) != 1 {
				t.Fatalf("%+v, %+v, %v", s, over, err)
			}
			if o := over.Others[0]; o.State != tt.state || !strings.Contains(o.Reason, tt.why) {
				t.Errorf("rank 1 is %s: %s", o.State, o.Reason)
			}
		})
	}
}

// What a server says inside of a 200, and refusals with its own status, are the reason.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		engine protocol.Engine
		q      servertest.Quirks
		why    string
	}{
		{protocol.EngineVLLMOmni, servertest.Quirks{Silent: []int{-1}}, "Profiling is not enabled"},
		{protocol.EngineSGLangDiffusion, servertest.Quirks{Foreign: true}, "is on already"},
		{protocol.EngineSGLangDiffusion, servertest.Quirks{Busy: true}, "not ready yet"},
		{protocol.EngineDynamo, servertest.Quirks{Foreign: true}, "profiling is under way"},
	} {
		u := openUnit(t, tt.engine, tt.q, nil)
		if _, _, _, err := u.record(nil); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v, want %s", tt.engine, err, tt.why)
		}
	}
}

// Asking a Dynamo worker what it is, and examining it, starts nothing: its system server runs a route's
// handler whatever the method is. What a session left is removed by the session's name, and stays if the
// worker's vLLM does not put it on.
func TestDynamoIsNotStartedByQuestions(t *testing.T) {
	for _, q := range []servertest.Quirks{{}, {Old: true}, {Fixed: true}} {
		u := openUnit(t, protocol.EngineDynamo, q, nil)
		for _, c := range Examine(t.Context(), Target{Engine: protocol.EngineDynamo, URL: u.web.URL, Dir: u.dir}) {
			if c.Verdict == Failing {
				t.Errorf("%+v: %+v", q, c)
			}
		}
		if u.srv.Recording() {
			t.Fatalf("%+v: its profiler is on, by %q", q, u.srv.Asked())
		}
		sess, s, over, err := u.record(nil)
		if err != nil || s.State != protocol.StateStopped || names(over.Files) != "trace.json.gz" {
			t.Fatalf("%+v: %+v, %+v, %v", q, s, over, err)
		}
		if u.srv.Recording() {
			t.Errorf("%+v: its profiler stays on", q)
		}
		if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: sess.Session}); err != nil {
			t.Fatal(err)
		}
		if left := u.left(); len(left) > 0 != q.Fixed {
			t.Errorf("%+v: left %q", q, left)
		}
	}
}

func TestOmniThatCannotBeOpened(t *testing.T) {
	for _, tt := range []struct {
		srv    *servertest.Server
		stages []string
		why    string
	}{
		{servertest.VLLMOmni(t.TempDir(), 1, servertest.Quirks{}), nil, "has several stages"},
		{servertest.VLLMOmni(t.TempDir(), 1, servertest.Quirks{NoRoutes: true}), omniStages, "stage-overrides"},
		{servertest.VLLMOmni(t.TempDir(), 1, servertest.Quirks{Old: true}), omniStages, "knows no stages"},
	} {
		web := httptest.NewServer(tt.srv)
		d, err := Open(t.Context(), Target{Engine: protocol.EngineVLLMOmni, URL: web.URL, Dir: t.TempDir(),
			Stages: tt.stages}, id, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%v, want %s", err, tt.why)
		}
		web.Close()
	}
}

// One start begins all stages of an sglang-omni, and each has its own files and events.
func TestStagesOfSGLangOmniStartTogether(t *testing.T) {
	dir := t.TempDir()
	srv := servertest.SGLangOmni(dir, omniStages, servertest.Quirks{Ranks: 2, Slow: slow})
	web := httptest.NewServer(srv)
	defer srv.Wait()
	defer web.Close()
	seats := Seats([]Target{{Engine: protocol.EngineSGLangOmni, URL: web.URL, Dir: dir, Stages: omniStages}}, "p", 3)
	q := request(nil)
	var ranks []*driver.Rank
	for _, s := range seats {
		d, err := New(s.Target, s.ID, discard(), withShared(s.shared))
		if err != nil {
			t.Fatal(err)
		}
		d.time = quick
		r := driver.NewRank(d, protocol.RankInfo{RankID: s.ID}, driver.WithLogger(discard()))
		defer r.Close()
		ranks = append(ranks, r)
		if _, err := r.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range ranks {
		if _, err := r.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range ranks {
		if _, err := r.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		s, over, err := r.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
		want := "events.jsonl trace.json.gz"
		if i == 0 { // and those of no stage
			want = "events.jsonl events_2.jsonl trace.json.gz"
		}
		if err != nil || s.State != protocol.StateStopped || names(over.Files) != want || len(over.Others) != 1 {
			t.Errorf("stage %d: %+v, %+v, %v", i, s, over, err)
		}
	}
	starts := 0
	for _, asked := range srv.Asked() {
		if asked == "POST /start_profile" {
			starts++
		}
	}
	if starts != 1 {
		t.Errorf("%d starts", starts)
	}
	for _, r := range ranks {
		if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
			t.Error(err)
		}
	}
	u := &unit{t: t, dir: dir}
	if left := u.left(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What a route takes is told by its own description, and not by a schema whose name begins alike.
func TestFieldsOfARoute(t *testing.T) {
	for text, want := range map[string]string{
		`{"paths":{"/p":{"post":{"requestBody":{"content":{"application/json":{"schema":{"anyOf":[` +
			`{"$ref":"#/components/schemas/B"},{"type":"null"}]}}}}}}}}`: "y",
		`{"paths":{"/p":{}}}`: "x",
		`{"paths":{"/p":{"post":{"requestBody":{"$ref":"#/components/schemas/None"}}}}}`: "x",
		`{"paths":{"/p":{"post":[]}}}`: "x",
	} {
		var o openapi
		for _, part := range []string{text,
			`{"components":{"schemas":{"A":{"properties":{"x":{}}},"B":{"properties":{"y":{}}},` +
				`"Along":{"properties":{"z":{}}}}}}`} {
			if err := json.Unmarshal([]byte(part), &o); err != nil {
				t.Fatal(err)
			}
		}
		if got := o.accepts("/p", "A"); len(got) != 1 || !got[want] {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
		if got := o.accepts("/q", "C"); got != nil {
			t.Errorf("%v", got)
		}
	}
}

// Labels are asked for by the name that the release has, and nothing that it does not name
// is sent.
func TestOnlyFieldsThatAreThere(t *testing.T) {
	u := openUnit(t, protocol.EngineSGLang, servertest.Quirks{Labels: "detailed_annotations"}, nil)
	if _, s, _, err := u.record(nil); err != nil || s.State != protocol.StateStopped {
		t.Fatalf("%+v, %v", s, err)
	}
	body := u.srv.Body()
	if body["detailed_annotations"] != true || body["record_shapes"] != nil || body["output_dir"] == nil {
		t.Errorf("sent %v", body)
	}
}

// A warning in the answer to a stop comes with the files.
func TestWarningsOfAStop(t *testing.T) {
	u := openUnit(t, protocol.EngineSGLangDiffusion, servertest.Quirks{Ranks: 2, Silent: []int{1}}, nil)
	if _, s, _, err := u.record(nil); err != nil || !strings.Contains(s.Reason, "profiler did not start") {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSeats(t *testing.T) {
	seats := Seats([]Target{
		{Engine: protocol.EngineVLLM, Stage: "a"}, {Engine: protocol.EngineVLLM, Stage: "a"},
		{Engine: protocol.EngineVLLMOmni, Stages: []string{"b", "a"}},
	}, "p", 5)
	var got []string
	for _, s := range seats {
		got = append(got, s.Stage+" "+s.ID.Text())
	}
	if want := 4; len(got) != want {
		t.Fatalf("%q", got)
	}
	for i, want := range [][2]int{{5, 0}, {5, 1}, {6, 0}, {5, 2}} {
		if id := seats[i].ID; id.Stage != want[0] || id.Replica != want[1] {
			t.Errorf("%d: %+v", i, id)
		}
	}
}
