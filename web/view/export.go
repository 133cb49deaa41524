package view

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/split"
	_ "github.com/kinetoscope/kinetoscope/trace/write" // registers the writers
)

// Names of formats in exports that the registry does not have under them.
const (
	formatCSV    = "csv"    // of the table of operators
	formatChrome = "chrome" // what kineto writes, as this endpoint has always called it
)

// exportInfo is a format in which an area can be written.
type exportInfo struct {
	Format string `json:"format"` // for format=
	Ending string `json:"ending"` // of the file
	Title  string `json:"title"`
}

// exports are the formats in which an area can be written: the table of operators, and what the registry of formats
// writes, by ending.
func exports() []exportInfo {
	var out []exportInfo
	for _, f := range format.All() {
		if f.Create != nil {
			name := f.Name
			if name == "kineto" {
				name = formatChrome
			}
			out = append(out, exportInfo{name, f.Extensions[0] + string(packed(f)), f.Title})
		}
	}
	slices.SortFunc(out, func(a, b exportInfo) int { return strings.Compare(a.Ending, b.Ending) })
	return append([]exportInfo{{formatCSV, ".csv", "table of the operators"}}, out...)
}

// packed is how a file of f is packed: Chrome JSON is large, and all that read it take it packed.
func packed(f format.Format) format.Compression {
	if f.Name == "kineto" {
		return format.Gzip
	}
	return format.Plain
}

// export writes an area in the format that the client asks for.
func export(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	q, err := query(r, tl, 1)
	if err != nil {
		return err
	}
	all(&q, tl)
	name := fmt.Sprintf("selection-%d-%d", q.From, q.To)
	asked := r.URL.Query().Get("format")
	if asked == formatCSV {
		s, err := tl.Select(r.Context(), q)
		if err != nil {
			return answered(err)
		}
		attach(w, name+".csv")
		return writeOps(w, s)
	}
	if asked == formatChrome {
		asked = "kineto"
	}
	f, ok := format.Lookup(asked)
	if !ok || f.Create == nil {
		var names []string
		for _, x := range exports() {
			names = append(names, x.Format)
		}
		return refuse(400, "format is %.40q; allowed are %s", asked, strings.Join(names, ", "))
	}
	t, err := tl.Cut(q)
	if err != nil {
		return answered(err)
	}
	out := &lateWriter{w: w, name: name + f.Extensions[0] + string(packed(f))}
	if err = writeTrace(r.Context(), out, f, t, name, tl.Traces() > 1); err != nil && !out.began {
		return refuse(400, "an area as %s: %v", f.Title, err) // what the format needs is not in it
	}
	return err
}

// contentTypes are the types of files by their last ending; others are bytes.
var contentTypes = map[string]string{
	".csv": "text/csv; charset=utf-8", ".gz": "application/gzip", ".parquet": "application/vnd.apache.parquet",
	".json": "application/json", ".html": "text/html; charset=utf-8", ".folded": "text/plain; charset=utf-8",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

func attach(w http.ResponseWriter, name string) {
	h := w.Header()
	h.Set("Content-Type", cmp.Or(contentTypes[path.Ext(name)], "application/octet-stream"))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

// lateWriter says what the answer is with its first byte, so that a format which cannot hold the area is refused with
// a reason.
type lateWriter struct {
	w     http.ResponseWriter
	name  string
	began bool
}

// Write passes b on.
func (l *lateWriter) Write(b []byte) (int, error) {
	if !l.began {
		l.began = true
		attach(l.w, l.name)
	}
	return l.w.Write(b)
}

// writeTrace writes t, which may be of several ranks, as a file of format f.
func writeTrace(ctx context.Context, w io.Writer, f format.Format, t *trace.Trace, name string, several bool) error {
	first, _, _ := t.Extent()
	var z *gzip.Writer
	if packed(f) == format.Gzip {
		z = gzip.NewWriter(w)
		w = z
	}
	ranks := []*trace.Trace{t}
	if several {
		ranks = split.Ranks(t) // the processes say whose they are
	}
	fw := f.Create(w, format.WriteOptions{Name: name, Workers: 1, StartNs: first, Ranks: len(ranks)})
	var err error
	for _, r := range ranks {
		rank := format.Rank{Trace: r, Name: name}
		if len(ranks) > 1 {
			rank.Name = cmp.Or(identity.Name(&r.Meta), name)
		}
		if err = fw.Add(ctx, rank); err != nil {
			break
		}
	}
	if e := fw.Close(ctx); err == nil {
		err = e
	}
	if err == nil && z != nil {
		err = z.Close()
	}
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
