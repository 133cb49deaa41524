package web

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

func TestRequestIDIsTheEnginesToo(t *testing.T) {
	eng := newOmni()
	_, url := start(t, eng)
	const chat = `{"messages":[{"role":"user","content":"a b"}]}`
	ask := func(id string) string {
		t.Helper()
		var header []string
		if id != "" {
			header = []string{HeaderRequestID, id}
		}
		status, h, body := call(t, "POST", url+"/v1/chat/completions", chat, header...)
		got := h.Get(HeaderRequestID)
		if status != 200 || got == "" || eng.last.Load().ID != got || parse[struct{ ID string }](t, body).ID != got {
			t.Errorf("id %q: answered %q, the pipeline has %q: %d %s", id, got, eng.last.Load().ID, status, body)
		}
		return got
	}
	if got := ask("mine.1"); got != "mine.1" {
		t.Errorf("mine.1 became %q", got)
	}
	if got := ask("mine.1"); !strings.HasPrefix(got, "mine.1-") {
		t.Errorf("a second mine.1 is %q: reports would take both for one", got)
	}
	if got := ask(""); !strings.HasPrefix(got, "chatcmpl-") {
		t.Errorf("made %q", got)
	}
	if got := ask("no good id"); !strings.HasPrefix(got, "chatcmpl-") {
		t.Errorf("an unfit id became %q", got)
	}
}

func TestUsedIDsAreBounded(t *testing.T) {
	var u usedIDs
	for i := range 2*maxUsedIDs + 10 {
		if id := fmt.Sprint(i); !u.add(id) || u.add(id) {
			t.Fatalf("%s: new once", id)
		}
	}
	if len(u.seen) != maxUsedIDs || len(u.ring) != maxUsedIDs || !u.add("0") {
		t.Errorf("%d ids are remembered", len(u.seen))
	}
}

// TestRealRequestID finds the id that a client sent in the traces of all stages.
func TestRealRequestID(t *testing.T) {
	_, url := open(t, "omni")
	if status, _, body := call(t, "POST", url+"/start_profile", ""); status != 200 {
		t.Fatalf("start: %d %s", status, body)
	}
	const id, chat = "load-7.42", `{"max_tokens":6,"messages":[{"role":"user","content":"What does a horse do?"}]}`
	status, h, body := call(t, "POST", url+"/v1/chat/completions", chat, HeaderRequestID, id, "Traceparent",
		parentHeader)
	if status != 200 || h.Get(HeaderRequestID) != id {
		t.Fatalf("chat: %d %v %s", status, h, body)
	}
	status, _, body = call(t, "POST", url+"/stop_profile", "")
	st := parse[session.Status](t, body)
	if status != 200 || st.State != session.StateComplete {
		t.Fatalf("stop: %d %s", status, body)
	}
	for _, s := range st.Stages {
		path := filepath.Join(st.RunDir, store.ArtifactName(s.Ranks[0].RankID, s.Name, string(protocol.KindTrace),
			".json.gz"))
		if got := arrivals(t, path); len(got) != 1 || got[id] == "" {
			t.Errorf("stage %s: requests %v arrived, want %s", s.Name, got, id)
		}
	}
}
