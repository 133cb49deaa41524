package kineto

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kinetoscope/kinetoscope/trace"
)

// sharedTraces are real traces that may lie beside the repository.
func sharedTraces(t testing.TB) []string {
	files, _ := filepath.Glob("../../../shared/traces/*.json.gz")
	if len(files) == 0 {
		t.Skip("no traces beside the repository")
	}
	return files
}

// oracleEvent is one event as a general JSON reader sees it.
type oracleEvent map[string]jsontext.Value

func (e oracleEvent) text(key string) (string, bool) {
	v := e[key]
	if v.Kind() != '"' {
		return string(v), false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		panic(err)
	}
	return string(b), true
}

// ns reads a time in microseconds with exact arithmetic.
func (e oracleEvent) ns(key string) int64 {
	s, _ := e.text(key)
	if s == "" {
		return 0
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic("time " + s)
	}
	r.Mul(r, big.NewRat(1000, 1))
	n, err := strconv.ParseInt(r.FloatString(0), 10, 64) // rounds half away from zero
	if err != nil {
		panic(err)
	}
	return n
}

func oracleObject(d *jsontext.Decoder, each func(key string) error) error {
	if tok, err := d.ReadToken(); err != nil || tok.Kind() != '{' {
		return fmt.Errorf("no object: %v %w", tok, err)
	}
	for d.PeekKind() != '}' {
		tok, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := each(tok.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// oracle reads a trace with jsontext.
func oracle(r io.Reader) (events []oracleEvent, top map[string]string, err error) {
	d := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true))
	top = make(map[string]string)
	err = oracleObject(d, func(key string) error {
		if key != "traceEvents" {
			v, err := d.ReadValue()
			top[key] = string(v)
			return err
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		for d.PeekKind() != ']' {
			e := oracleEvent{}
			if err := oracleObject(d, func(key string) error {
				v, err := d.ReadValue()
				e[key] = v.Clone()
				return err
			}); err != nil {
				return err
			}
			events = append(events, e)
		}
		_, err := d.ReadToken()
		return err
	})
	return events, top, err
}

// TestOracle compares every row of every real trace with what jsontext reads.
func TestOracle(t *testing.T) {
	for _, f := range sharedTraces(t) {
		t.Run(filepath.Base(f), func(t *testing.T) {
			t.Parallel()
			file, err := os.Open(f)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			z, err := gzip.NewReader(file)
			if err != nil {
				t.Fatal(err)
			}
			events, top, err := oracle(z)
			if err != nil {
				t.Fatal("oracle:", err)
			}
			tr, err := ReadFile(context.Background(), f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
			c := comparer{t: t, tr: tr}
			if s, ok := top["baseTimeNanoseconds"]; ok {
				c.base, _ = strconv.ParseInt(s, 10, 64)
			}
			for i, e := range events {
				c.event(uint32(i), e)
				if t.Failed() {
					t.Fatalf("event %d: %v", i, e)
				}
			}
			if c.slice != tr.Slices.Len() || c.flow != len(tr.Flows.Time) || c.instant != len(tr.Instants.Time) {
				t.Errorf("rows: read %d %d %d, oracle %d %d %d", tr.Slices.Len(), len(tr.Flows.Time),
					len(tr.Instants.Time), c.slice, c.flow, c.instant)
			}
			for k, v := range tr.Meta.Extra {
				if top[k] != v {
					t.Errorf("extra %s: %s, oracle %s", k, v, top[k])
				}
			}
		})
	}
}

type comparer struct {
	t                    *testing.T
	tr                   *trace.Trace
	base                 int64
	slice, instant, flow int
}

func (c *comparer) same(what string, got, want any) {
	if got != want {
		c.t.Errorf("%s: got %v, oracle %v", what, got, want)
	}
}

func (c *comparer) lane(id trace.TrackID, e oracleEvent) {
	k := c.tr.Tracks[id]
	for key, got := range map[string]struct {
		n    int64
		text string
	}{"pid": {k.PID, k.PIDText}, "tid": {k.TID, k.TIDText}} {
		s, _ := e.text(key)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			c.same(key, got.n, n)
		} else {
			c.same(key, got.text, s)
		}
	}
}

func (c *comparer) event(at uint32, e oracleEvent) {
	tr := c.tr
	name, _ := e.text("name")
	cat, _ := e.text("cat")
	if known, ok := trace.ParseCategory(cat); ok {
		cat = known.String()
	}
	switch ph, _ := e.text("ph"); ph {
	case "X":
		if e.ns("dur") > trace.MaxDur {
			return
		}
		if s, _ := e.text("pid"); cat == "python_function" && s == "0" && string(e["tid"]) == "0" {
			return
		}
		s, i := &tr.Slices, c.slice
		if i >= s.Len() {
			c.t.Error("slice missing")
			return
		}
		c.slice++
		c.same("event", s.Event[i], at)
		c.same("start", s.Start[i], e.ns("ts")+c.base)
		c.same("dur", s.Dur[i], max(0, e.ns("dur")))
		c.same("name", tr.String(s.Name[i]), name)
		c.same("cat", tr.CategoryText(s.Cat[i]), cat)
		c.lane(s.Track[i], e)
		c.args(tr.Args(s.Args[i]), e)
		corr := trace.NoCorrelation
		var args struct{ Correlation json.Number }
		if json.Unmarshal(e["args"], &args) == nil && args.Correlation != "" && args.Correlation != "0" {
			corr, _ = args.Correlation.Int64()
		}
		c.same("corr", s.Corr[i], corr)
	case "i", "I":
		s, i := &tr.Instants, c.instant
		c.instant++
		c.same("time", s.Time[i], e.ns("ts")+c.base)
		c.same("name", tr.String(s.Name[i]), name)
		c.lane(s.Track[i], e)
		c.args(tr.Args(s.Args[i]), e)
	case "s", "f":
		s, i := &tr.Flows, c.flow
		c.flow++
		c.same("time", s.Time[i], e.ns("ts")+c.base)
		c.same("id", strconv.FormatUint(s.ID[i], 10), string(e["id"]))
		c.same("start", s.Start[i], ph == "s")
		c.lane(s.Track[i], e)
	case "M":
	default:
		c.t.Errorf("phase %q", ph)
	}
}

func (c *comparer) args(got []byte, e oracleEvent) {
	want := e["args"]
	if len(bytes.TrimSpace(want)) == 0 || len(want) > 0 && len(bytes.TrimSpace(want[1:len(want)-1])) == 0 {
		if len(bytes.TrimSpace(got)) > 0 && len(bytes.TrimSpace(got[1:len(got)-1])) > 0 {
			c.t.Errorf("args: got %s, oracle none", got)
		}
		return
	}
	if !bytes.Equal(got, want) {
		c.t.Errorf("args: got %s, oracle %s", got, want)
	}
}
