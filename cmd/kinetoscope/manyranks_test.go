package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// TestManyRanksOfOneJob asks each verb about ranks which one process reads one after the other: what it
// keeps of each is a summary, and the answer has them all. KINETOSCOPE_SCALE asks for more ranks.
func TestManyRanksOfOneJob(t *testing.T) {
	n := 32
	if text := os.Getenv("KINETOSCOPE_SCALE"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("KINETOSCOPE_SCALE: %v", err)
		}
		n = min(n, 256) // each is a file of 150 KB
	}
	dir := t.TempDir()
	var bytesOf int64
	for rank := range n {
		st, err := os.Stat(drawRank(t, dir, rank, n, int64(rank)*1000, 0))
		if err != nil {
			t.Fatal(err)
		}
		bytesOf += st.Size()
	}
	for _, verb := range []string{"ops", "kernels", "comms", "idle", "steps", "report"} {
		var stdout, stderr bytes.Buffer
		began := time.Now()
		args := []string{verb, "--json", "--memory", "1GiB", dir}
		if code := run(context.Background(), args, cli.Streams{Out: &stdout, Err: &stderr}); code != 0 {
			t.Fatalf("%s: exit code %d: %.2000s", verb, code, stderr.String())
		}
		var answer struct {
			Traces []json.RawMessage `json:"traces"`
		}
		if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil || len(answer.Traces) != n {
			t.Errorf("%s: %d of %d traces: %v", verb, len(answer.Traces), n, err)
		}
		t.Logf("%s of %d ranks, %d kB each: %v, %d kB of JSON a rank", verb, n, bytesOf/int64(n)/1000,
			time.Since(began).Round(time.Millisecond), stdout.Len()/n/1000)
	}
	out := filepath.Join(dir, "all.pftrace")
	var stdout, stderr bytes.Buffer
	began := time.Now()
	args := []string{"merge", dir, "-o", out, "--memory", "1GiB"}
	if code := run(context.Background(), args, cli.Streams{Out: &stdout, Err: &stderr}); code != 0 {
		t.Fatalf("merge: exit code %d: %.2000s", code, stderr.String())
	}
	if bytes.Contains(stderr.Bytes(), []byte("WARNING")) {
		t.Errorf("%.2000s", stderr.String())
	}
	st, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("merge of %d ranks: %v, %d kB a rank", n, time.Since(began).Round(time.Millisecond),
		st.Size()/int64(n)/1000)
}
