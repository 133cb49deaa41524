package offline

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/web/view"
)

// recorder asks the timeline's endpoints, in this process, what the page would ask, and keeps the
// answers.
type recorder struct {
	ctx     context.Context
	api     *view.API
	mux     *http.ServeMux
	traces  int
	info    info
	answers map[string]json.RawMessage
	levels  []string         // packed
	used    int              // bytes of levels
	shown   map[string]int64 // length of slices that the timeline shows, by their ids
	traceOf map[string]int   // by track
}

func newRecorder(ctx context.Context, o *view.Opened) *recorder {
	r := &recorder{ctx: ctx, api: view.New(view.Config{Library: library{o}}), mux: http.NewServeMux(),
		traces: len(o.Sources), answers: map[string]json.RawMessage{}, shown: map[string]int64{},
		traceOf: map[string]int{},
		info:    info{Batch: batch, Keys: keys}}
	for _, route := range r.api.Routes() {
		r.mux.HandleFunc(route.Method+" "+route.Pattern, func(w http.ResponseWriter, req *http.Request) {
			if err := route.Handle(w, req); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	return r
}

func (r *recorder) close() { r.api.Close() }

// get asks an endpoint.
func (r *recorder) get(path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(r.ctx, http.MethodGet, "http://page/v1/runs/page/"+path, nil)
	if err != nil {
		return nil, err
	}
	w := &answer{header: http.Header{}, status: http.StatusOK}
	r.mux.ServeHTTP(w, req)
	if r.ctx.Err() != nil {
		return nil, r.ctx.Err()
	}
	if w.status != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, strings.TrimSpace(w.body.String()))
	}
	return w.body.Bytes(), nil
}

// answer is a http.ResponseWriter that keeps what is written.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// keep asks an endpoint and keeps the answer under key.
func (r *recorder) keep(key, path string) error {
	b, err := r.get(path)
	if err != nil {
		return err
	}
	r.answers[key] = bytes.TrimSpace(b)
	return nil
}

// track is what the recorder needs of a node of the tree.
type track struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Trace  int    `json:"trace"`
	Slices int    `json:"slices"`
}

func (r *recorder) record() error {
	for state := ""; state != "ready"; { // the answer itself waits while the run is read
		if err := r.keep("view", "view"); err != nil {
			return err
		}
		var v struct {
			State string `json:"state"`
			End   int64  `json:"end_ns"`
		}
		if err := json.Unmarshal(r.answers["view"], &v); err != nil {
			return err
		}
		state, r.info.End = v.State, v.End
	}
	whole := fmt.Sprintf("?from=0&to=%d", max(1, r.info.End))
	for key, path := range map[string]string{
		"tracks": "tracks?pack=auto", "steps": "steps" + whole + "&px=4000", "requests": "requests",
		"arrows": fmt.Sprintf("arrows?from=-1&to=%d", r.info.End+1), "findings": "findings", "overview": "overview",
		"steptimes": "steptimes", "derived": "derived", "communication": "communication", "memory": "memory",
		"rooflines": "rooflines", "windows": "windows",
	} {
		if err := r.keep(key, path); err != nil {
			return err
		}
	}
	if err := r.counters(whole); err != nil {
		return err
	}
	if err := r.perTrace(); err != nil {
		return err
	}
	tracks, err := r.tracks()
	if err != nil {
		return err
	}
	if err := r.timeline(tracks); err != nil {
		return err
	}
	return r.details()
}

// counters records the curves of all counters, including those computed from slices.
func (r *recorder) counters(whole string) error {
	curves := []json.RawMessage{}
	for _, key := range []string{"tracks", "derived"} {
		var list struct {
			Data []track `json:"data"`
		}
		if err := json.Unmarshal(r.answers[key], &list); err != nil {
			return err
		}
		for _, t := range list.Data {
			if t.Kind != "counter" && key == "tracks" || len(curves) >= maxCounters {
				continue
			}
			b, err := r.get("counters" + whole + "&px=4000&tracks=" + url.QueryEscape(t.ID))
			if err != nil {
				return err
			}
			var got struct {
				Data []json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(b, &got); err != nil {
				return err
			}
			curves = append(curves, got.Data...)
		}
	}
	all, err := json.Marshal(map[string]any{"object": "list", "data": curves})
	r.answers["counters"] = all
	return err
}

// maxCounters bounds the curves of a file; each has up to 4000 points.
const maxCounters = 200

// perTrace records what the report asks of each trace.
func (r *recorder) perTrace() error {
	for i := range r.traces {
		n := strconv.Itoa(i)
		for _, q := range []struct{ key, path string }{
			{ask("ops", "by", "name", "trace", n), ask("ops", "by", "name", "trace", n)},
			{ask("ops", "by", "kernel", "trace", n), ask("ops", "by", "kernel", "trace", n)},
			{ask("flame", "of", "device", "trace", n), ask("flame", "of", "device", "trace", n)},
			{ask("flame", "of", "host", "trace", n), ask("flame", "of", "host", "trace", n)},
			{ask("criticalpath", "trace", n), ask("criticalpath", "px", "4000", "trace", n)},
		} {
			b, err := r.get(q.path)
			if r.ctx.Err() != nil {
				return r.ctx.Err()
			}
			if err == nil { // a trace without device work, say, has no answer; the page then says so
				r.answers[q.key] = bytes.TrimSpace(b)
			}
		}
	}
	return nil
}

func (r *recorder) tracks() ([]string, error) {
	var list struct {
		Data []track `json:"data"`
	}
	if err := json.Unmarshal(r.answers["tracks"], &list); err != nil {
		return nil, err
	}
	var out []string
	for _, t := range list.Data {
		if t.Slices > 0 && t.Kind != "counter" {
			out = append(out, t.ID)
			r.traceOf[t.ID] = t.Trace
		}
	}
	return out, nil
}

// timeline records levels until every box shows one slice, or the size is reached.
func (r *recorder) timeline(tracks []string) error {
	for k := range maxLevels {
		raw, merged, err := r.level(tracks, k)
		if err != nil {
			return err
		}
		text, err := pack(raw)
		if err != nil {
			return err
		}
		if k > 0 && r.used+len(text) > MaxBytes-detailBytes {
			return nil
		}
		r.used += len(text)
		r.levels = append(r.levels, text)
		column := float64(r.info.End) / float64(int(basePx)<<k)
		if !merged {
			column = 0
		}
		r.info.Levels = append(r.info.Levels, levelInfo{column, tracks})
		if !merged {
			return nil
		}
	}
	return nil
}

// level asks for the whole at a resolution, in parts; each answer stands behind its size and the
// number of its first track.
func (r *recorder) level(tracks []string, k int) (out []byte, merged bool, err error) {
	parts, px := 1, basePx<<k
	for px > timeline.MaxPx {
		parts, px = parts*2, px/2
	}
	span := max(1, (r.info.End+int64(parts)-1)/int64(parts))
	for first := 0; first < len(tracks); first += batch {
		some := tracks[first:min(first+batch, len(tracks))]
		for p := range int64(parts) {
			path := fmt.Sprintf("slices?from=%d&to=%d&px=%d&tracks=%s", p*span, (p+1)*span, px, strings.Join(some, ","))
			b, err := r.get(path)
			if err != nil {
				return nil, false, err
			}
			several, err := r.boxes(b, some)
			if err != nil {
				return nil, false, err
			}
			merged = merged || several
			b = append(b, make([]byte, (4-len(b)%4)%4)...)
			out = binary.LittleEndian.AppendUint32(out, uint32(len(b)))
			out = binary.LittleEndian.AppendUint32(out, uint32(first))
			out = append(out, b...)
		}
	}
	return out, merged, nil
}

// header is the length of an answer's fixed part, bytes; package timeline has its layout.
const header = 40

// boxes notes the slices that an answer shows by themselves; merged reports whether a box of it
// stands for several.
func (r *recorder) boxes(b []byte, tracks []string) (merged bool, err error) {
	if len(b) < header {
		return false, fmt.Errorf("an answer of %d bytes", len(b))
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	f32 := func(at int) float64 { return float64(math.Float32frombits(u32(at))) }
	rows, n := int(u32(8)), int(u32(12))
	at := header + rows*24
	if len(b) < at+n*22 {
		return false, fmt.Errorf("an answer of %d bytes for %d boxes", len(b), n)
	}
	for row := range rows {
		t := header + row*24
		first, count, of := int(u32(t+16)), int(u32(t+20)), r.traceOf[tracks[u32(t)]]
		for i := first; i < first+count; i++ {
			if u32(at+3*4*n+4*i) > 1 {
				merged = true
			}
			r.shown[fmt.Sprintf("%d.%d", of, u32(at+2*4*n+4*i))] = int64(f32(at+4*n+4*i) - f32(at+4*i))
		}
	}
	return merged, nil
}

// shown is a slice that stands for itself or for others.
type shown struct {
	id string
	ns int64
}

// details records the details of the longest slices, as many as fit.
func (r *recorder) details() error {
	var list []shown
	for id, ns := range r.shown {
		list = append(list, shown{id, ns})
	}
	longest(list)
	room := detailBytes * 8 // details shrink to an eighth when they are compressed
	for _, s := range list[:min(len(list), maxDetails)] {
		b, err := r.get("slices/" + s.id)
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if err != nil {
			continue
		}
		if room -= len(b); room < 0 {
			return nil
		}
		r.answers["slices/"+s.id] = bytes.TrimSpace(b)
	}
	return nil
}
