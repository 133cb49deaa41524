package analyses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// TestResultsTravel answers every question once from what Rank returned and once from the same after
// Pack and Unpack: not a byte of JSON or CSV differs.
func TestResultsTravel(t *testing.T) {
	sets := map[string][]*trace.Trace{"torch": pipetest.Torch(), "omni": pipetest.Omni()}
	shared, _ := filepath.Glob("../../shared/traces/*.json*")
	for _, path := range shared {
		list, err := open.Files(t.Context(), []string{path}, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		sets[filepath.Base(path)] = list
	}
	for name, set := range sets {
		subjects := analysis.NewSubjects(set)
		for _, a := range All() {
			if a.Compares() || a.Ask().Travels() != nil {
				continue
			}
			for _, asked := range []Asked{{}, {Everything: true}, {HTA: true, ByRank: true}} {
				q := a.Ask()
				var here, there []report.Ranked[any]
				for i, s := range subjects {
					r, err := q.Rank(s, asked)
					if err != nil {
						t.Fatalf("%s: %s: %v", name, a.Name, err)
					}
					data, err := q.Pack(r)
					if err != nil {
						t.Fatalf("%s: %s: %v", name, a.Name, err)
					}
					back, err := q.Unpack(data)
					if err != nil {
						t.Fatalf("%s: %s: %v", name, a.Name, err)
					}
					here = append(here, report.Ranked[any]{Label: fmt.Sprint(i), Value: r})
					there = append(there, report.Ranked[any]{Label: fmt.Sprint(i), Value: back})
				}
				if want, got := answered(t, q, here, asked), answered(t, q, there, asked); want != got {
					t.Errorf("%s: %s %+v: %s", name, a.Name, asked, firstDifference(want, got))
				}
			}
		}
	}
}

// answered is an answer in all its forms.
func answered(t *testing.T, q *Question, list []report.Ranked[any], asked Asked) string {
	t.Helper()
	a, err := q.Answer(list, asked)
	if err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(a.JSON); err != nil {
		t.Fatal(err)
	}
	for _, tables := range [][]*report.Table{a.Above, a.Tables, a.Asked} {
		for _, table := range tables {
			fmt.Fprintln(&b, table.Name)
			if err := table.CSV(&b); err != nil {
				t.Fatal(err)
			}
		}
	}
	fmt.Fprintln(&b, a.Lines, a.Notes, q.Findings(list))
	return b.String()
}

func firstDifference(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	around := func(s string) string { return s[max(0, i-60):min(len(s), i+60)] }
	return fmt.Sprintf("at %d\n%s\n%s", i, around(a), around(b))
}

// TestReportTravels joins the report from parts that were packed.
func TestReportTravels(t *testing.T) {
	for name, set := range map[string][]*trace.Trace{"torch": pipetest.Torch(), "omni": pipetest.Omni()} {
		page := NewPage(Asked{})
		var here, there []analysis.RankPart
		for _, s := range analysis.NewSubjects(set) {
			p := analysis.PartOf(s, analysis.Options{})
			data, err := Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			var back analysis.RankPart
			if err := Decode(data, &back); err != nil {
				t.Fatal(err)
			}
			here, there = append(here, p), append(there, back)
			found, err := page.Rank(s)
			if err != nil {
				t.Fatal(err)
			}
			if data, err = page.Pack(found); err != nil {
				t.Fatal(err)
			}
			if _, err = page.Unpack(data); err != nil {
				t.Fatal(err)
			}
		}
		want, _ := json.Marshal(analysis.Join(here))
		got, _ := json.Marshal(analysis.Join(there))
		if !bytes.Equal(want, got) {
			t.Errorf("%s: %s", name, firstDifference(string(want), string(got)))
		}
	}
}

// TestResultsThatDoNotTravel refuses a result that would lose a field.
func TestResultsThatDoNotTravel(t *testing.T) {
	for _, a := range All() {
		if a.Compares() {
			continue
		}
		if err := a.Ask().Travels(); (err != nil) != (a.Name == "critical-path") {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
	for _, a := range ordered() {
		if a.Page {
			if err := a.Ask().Travels(); err != nil {
				t.Errorf("the page's %s: %v", a.Name, err)
			}
		}
	}
}

// FuzzUnpack decodes what no agent of this version made.
func FuzzUnpack(f *testing.F) {
	q, page := Named("comms").Ask(), NewPage(Asked{})
	for _, s := range analysis.NewSubjects(pipetest.Torch()[:1]) {
		r, err := q.Rank(s, Asked{Everything: true})
		if err != nil {
			f.Fatal(err)
		}
		data, err := q.Pack(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		found, err := page.Rank(s)
		if err != nil {
			f.Fatal(err)
		}
		if data, err = page.Pack(found); err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := q.Unpack(data); err == nil {
			if _, err := q.Pack(r); err != nil {
				t.Error(err)
			}
		}
		_, _ = page.Unpack(data) // only that it returns
	})
}
