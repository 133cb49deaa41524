package offline

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// drawn is a trace of n slices whose names would end a script.
func drawn(n int) *trace.Trace {
	t := trace.New()
	t.Meta.Rank = 0
	k := t.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1, Name: "main</script>"})
	for i := range n {
		t.AddSlice(trace.Slice{Start: int64(i) * 1000, Dur: 900, Name: fmt.Sprintf("op</script>%d", i%50),
			Cat: trace.CatCPUOp, Track: k, Corr: trace.NoCorrelation, Args: fmt.Appendf(nil, `{"i": %d}`, i)})
	}
	t.Window()
	return t
}

func page(t *testing.T, n int) string {
	t.Helper()
	f, pack, err := format.ForPath("x.html")
	if err != nil || f.Name != "page" || pack != format.Plain {
		t.Fatal(f.Name, pack, err)
	}
	var out bytes.Buffer
	w := f.Create(&out, format.WriteOptions{Name: "a<b>&.html"})
	if err := w.Add(t.Context(), format.Rank{Trace: drawn(n), Name: "rank 0"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func data(t *testing.T, page, id string) []byte {
	t.Helper()
	m := regexp.MustCompile(`(?s)<script type="text/plain" id="` + id + `">(.*?)</script>`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("the page has no %s", id)
	}
	if id == "kt-info" {
		return []byte(m[1])
	}
	packed, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A page is of one piece, holds what was recorded, and no name of a trace becomes markup.
func TestPage(t *testing.T) {
	p := page(t, 3000)
	scripts := strings.Count(p, "<script")
	if scripts != strings.Count(p, "</script>") {
		t.Error("a text of the trace ends a script")
	}
	for _, bad := range []string{`src="/`, `href="/`, "<title>a<b>"} {
		if strings.Contains(p, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	var known info
	if err := json.Unmarshal(data(t, p, "kt-info"), &known); err != nil {
		t.Fatal(err)
	}
	// the last level shows every slice
	if n := len(known.Levels); n < 1 || known.Levels[n-1].Column != 0 || known.End != 2_999_900 {
		t.Errorf("%+v", known)
	}
	var answers map[string]json.RawMessage
	if err := json.Unmarshal(data(t, p, "kt-answers"), &answers); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"view", "tracks", "findings", "overview", "counters", "ops?by=name&trace=0",
		"slices/0.0"} {
		if answers[want] == nil {
			t.Errorf("%s is not recorded", want)
		}
	}
}

// However much there is, the page stays small: what does not fit is left out of the timeline.
func TestSize(t *testing.T) {
	p := page(t, 60_000)
	if len(p) > 12<<20 {
		t.Errorf("%d bytes", len(p))
	}
	var known info
	if err := json.Unmarshal(data(t, p, "kt-info"), &known); err != nil {
		t.Fatal(err)
	}
	for k := 1; k < len(known.Levels); k++ {
		if known.Levels[k].Column >= known.Levels[k-1].Column {
			t.Errorf("level %d is no finer: %v", k, known.Levels[k].Column)
		}
	}
}

func TestRefused(t *testing.T) {
	f, _ := format.Lookup("page")
	if err := f.Create(io.Discard, format.WriteOptions{}).Close(t.Context()); err == nil {
		t.Error("a page of nothing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := f.Create(io.Discard, format.WriteOptions{})
	if err := w.Add(ctx, format.Rank{Trace: drawn(10)}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := w.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
