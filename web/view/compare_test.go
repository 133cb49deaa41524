package view

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestCompare asks about two runs of one pipeline, and what cannot be asked.
func TestCompare(t *testing.T) {
	a := New(Config{Library: &shelf{}})
	defer a.Close()
	code, body := ask(t, a, "/v1/compare?a=one&b=two")
	var whole struct {
		By      string
		Verdict string
		Differs []string
		Doubts  []string
		Pairs   []struct{ A, B int }
		A, B    struct {
			ID, Title, Ranks string
			Traces           []string
		}
		Steps []struct{ Significant bool }
	}
	if err := json.Unmarshal([]byte(body), &whole); err != nil || code != 200 {
		t.Fatalf("%d, %v: %.300s", code, err, body)
	}
	if whole.By != "pipelines" || len(whole.Pairs) != 4 || len(whole.Differs) != 0 || whole.Verdict == "" ||
		whole.A.Title != "one" || whole.B.ID != "two" || len(whole.A.Traces) != 4 || len(whole.Steps) == 0 {
		t.Errorf("%+v", whole)
	}
	code, body = ask(t, a, "/v1/compare/traces?a=one&b=two&trace_a=0&trace_b=2")
	var traces struct {
		ComparedBy string `json:"compared_by"`
		Verdict    string
		Names      int
		Diff       struct{ Rows []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(body), &traces); err != nil || code != 200 || traces.Names == 0 ||
		len(traces.Diff.Rows) != traces.Names || traces.Verdict == "" {
		t.Errorf("%d, %v: %+v", code, err, traces)
	}
	code, body = ask(t, a, "/v1/compare/flame?a=one&b=one&of=host")
	var flame struct {
		StepsA int `json:"steps_a"`
		Flame  struct {
			A float64 `json:"a_ns"`
			B float64 `json:"b_ns"`
		}
	}
	if err := json.Unmarshal([]byte(body), &flame); err != nil || code != 200 || flame.Flame.A <= 0 ||
		flame.Flame.A != flame.Flame.B || flame.StepsA == 0 {
		t.Errorf("%d, %v: %+v", code, err, flame)
	}
	for path, want := range map[string]int{
		"/v1/compare": 400, "/v1/compare?a=one": 400, "/v1/compare?a=one&b=missing": 404,
		"/v1/compare?a=one&b=" + strings.Repeat("x", maxID+1):          404,
		"/v1/compare/traces?a=one&b=two&trace_a=4":                     404,
		"/v1/compare/traces?a=one&b=two&trace_b=-1":                    404,
		"/v1/compare/traces?a=one&b=two&trace_b=x":                     400,
		"/v1/compare/traces?a=one&b=two&steps=some":                    400,
		"/v1/compare/traces?a=one&b=two&steps=profiler":                400,
		"/v1/compare/flame?a=one&b=two&of=gpu":                         400,
		"/v1/compare/flame?a=one&b=two&of=device":                      200,
		"/v1/compare/traces?a=one&b=two&steps=all&trace_a=1&trace_b=1": 200,
	} {
		if code, body := ask(t, a, path); code != want {
			t.Errorf("%s: %d, want %d: %.200s", path, code, want, body)
		}
	}
}

// TestMemoIsBounded makes each result once for all who ask at a time, forgets the oldest, and
// tries again what failed.
func TestMemoIsBounded(t *testing.T) {
	var m memo
	made := map[string]int{}
	var mu sync.Mutex
	get := func(key string, err error) {
		t.Helper()
		_, got := m.get(key, func() (any, error) {
			mu.Lock()
			defer mu.Unlock()
			made[key]++
			return key, err
		})
		if got != err {
			t.Errorf("%s: %v", key, got)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { get("together", nil) })
	}
	wg.Wait()
	for i := range maxMemo {
		get(fmt.Sprint(i), nil)
	}
	get("together", nil)
	broken := fmt.Errorf("broken")
	get("fails", broken)
	get("fails", broken)
	if made["together"] != 2 || made["fails"] != 2 || len(m.cells) > maxMemo || len(m.order) > maxMemo {
		t.Errorf("made %v; %d cells, %d in order", made, len(m.cells), len(m.order))
	}
}
