package view

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strconv"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
	"github.com/kinetoscope/kinetoscope/trace/parquet"
	"github.com/kinetoscope/kinetoscope/trace/perfetto"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// export writes an area in the format that the client asks for.
func export(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	q, err := query(r, tl, 1)
	if err != nil {
		return err
	}
	all(&q, tl)
	name := fmt.Sprintf("selection-%d-%d", q.From, q.To)
	switch format := r.URL.Query().Get("format"); format {
	case "csv":
		s, err := tl.Select(r.Context(), q)
		if err != nil {
			return answered(err)
		}
		attach(w, name+".csv", "text/csv; charset=utf-8")
		return writeOps(w, s)
	case "chrome", "perfetto", "parquet":
		t, err := tl.Cut(q)
		if err != nil {
			return answered(err)
		}
		return writeTrace(w, r, t, format, name)
	default:
		return refuse(400, "format is %.40q; allowed are csv, chrome, perfetto and parquet", format)
	}
}

func attach(w http.ResponseWriter, name, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

func writeTrace(w http.ResponseWriter, r *http.Request, t *trace.Trace, format, name string) error {
	switch format {
	case "chrome":
		attach(w, name+".json.gz", "application/gzip")
		_, err := chrome.WriteGzip(w, t, chrome.Options{}, 1)
		return err
	case "parquet":
		attach(w, name+".parquet", "application/vnd.apache.parquet")
		tab := table.Slices(table.Rank{Trace: t, Name: name})
		return parquet.Write(r.Context(), w, 1, &tab)
	}
	attach(w, name+".pftrace", "application/octet-stream")
	return writePerfetto(w, t, name)
}

func writePerfetto(w io.Writer, t *trace.Trace, name string) error {
	first, _, _ := t.Extent()
	p := perfetto.NewWriter(w, first)
	var all []iter.Seq[perfetto.Event]
	all = append(all, p.AddRank(t, perfetto.RankOptions{Name: name})...)
	for e := range align.Merge(func(e perfetto.Event) int64 { return e.Time }, all...) {
		p.Emit(e)
	}
	_, err := p.Close()
	return err
}

// writeOps writes the table of operators.
func writeOps(w io.Writer, s *timeline.Selection) error {
	c := csv.NewWriter(w)
	// Error tells
	_ = c.Write([]string{"name", "class", "count", "total_ns", "self_ns", "mean_ns", "min_ns", "max_ns", "longest"})
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	for _, o := range s.Ops {
		_ = c.Write([]string{neutral.CSV(o.Name), o.Class.String(), n(int64(o.Count)), n(o.TotalNs), n(o.SelfNs),
			strconv.FormatFloat(o.MeanNs, 'f', 1, 64),
			n(o.MinNs), n(o.MaxNs), neutral.CSV(o.Longest)})
	}
	c.Flush()
	return c.Error()
}
