package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/driver/scrape"
	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// watchOf watches a server that answers each look with the next of answers, and its last one from then on: ""
// is no answer, a number how many requests wait. It returns how many looks there had been at each capture.
func watchOf(t *testing.T, times, most int, answers []string, capture func(n int) error) (at []int64, said string,
	err error) {
	t.Helper()
	var looks atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := answers[min(int(looks.Add(1)), len(answers))-1]
		if a == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting %s\n", a)
	}))
	defer srv.Close()
	when, err := scrape.Parse("waiting > 4")
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	e := cli.NewEnv(t.Context(), cli.Streams{Out: io.Discard, Err: &errs})
	seats := httpdriver.Seats([]httpdriver.Target{{Engine: protocol.EngineVLLM, URL: srv.URL}}, "p", 0)
	c := watchCmd{Every: time.Millisecond, Times: times, Max: most, Quiet: time.Millisecond}
	err = c.watch(e, seats, []*scrape.Condition{when}, func(*captured) error {
		at = append(at, looks.Load())
		return capture(len(at))
	})
	return at, errs.String(), err
}

// A look without an answer is a gap: the condition has not held in a row.
func TestWatchCountsLooksInARow(t *testing.T) {
	at, _, err := watchOf(t, 2, 1, []string{"5", "", "5", "0", "5", "5"}, func(int) error { return nil })
	if err != nil || fmt.Sprint(at) != "[6]" {
		t.Errorf("captured at looks %v, %v", at, err)
	}
}

// A capture that could not be made now is made the next time, and one that never can be ends the watch.
func TestWatchGoesOn(t *testing.T) {
	for _, passing := range []error{
		&client.Error{Status: 409, Message: "somebody records"}, &client.Error{Status: 503, Message: "a rank is lost"},
		&url.Error{Op: "Post", URL: "http://127.0.0.1:1", Err: errors.New("connection refused")},
	} {
		at, said, err := watchOf(t, 1, 2, []string{"5"}, func(n int) error {
			if n == 1 {
				return passing
			}
			return nil
		})
		if err != nil || len(at) != 3 || !strings.Contains(said, "not captured: "+passing.Error()) {
			t.Errorf("%v: %d captures, %v, said %q", passing, len(at), err, said)
		}
	}
	wrong := &client.Error{Status: 401, Message: "no such key"}
	if at, _, err := watchOf(t, 1, 2, []string{"5"}, func(int) error { return wrong }); !errors.Is(err, wrong) ||
		len(at) != 1 {
		t.Errorf("after a refused key: %d captures, %v", len(at), err)
	}
}
