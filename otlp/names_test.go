package otlp

import (
	"encoding/json"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// What a request or a stage is called comes with its meaning, and does nothing where the file is shown.
func TestNamesInSpansAreText(t *testing.T) {
	const name = "\x1b[31m\u009b31m\u202e\u2028</script>=1+1"
	out, err := JSON(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: name}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	line, ok := strings.CutSuffix(string(out), "\n")
	if i := strings.IndexFunc(line, neutral.Command); i >= 0 || !ok {
		t.Errorf("a terminal obeys %q", out)
	}
	var back struct {
		ResourceSpans []struct {
			ScopeSpans []struct{ Spans []struct{ Name string } }
		}
	}
	if err := json.Unmarshal(out, &back); err != nil || back.ResourceSpans[0].ScopeSpans[0].Spans[0].Name != name {
		t.Errorf("%s: %v", out, err)
	}
}
