package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

func TestSVG(t *testing.T) {
	for name, r := range map[string]*pipeline.Report{"omni.svg": omni(), "diffusion.svg": diffusion()} {
		var b bytes.Buffer
		if err := SVG(&b, r); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
	r := omni()
	r.Stages[1].Name = "<script>&\x00\"'"
	var b bytes.Buffer
	if err := SVG(&b, r); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(&b)
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			if e.Name.Local == "script" {
				t.Error("a name became an element")
			}
			for _, a := range e.Attr {
				if strings.Contains(a.Name.Local, "href") {
					t.Errorf("the picture refers to %s", a.Value)
				}
			}
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	for _, r := range []*pipeline.Report{omni(), diffusion(), pipeline.Analyze(nil, pipeline.Options{})} {
		var b bytes.Buffer
		if err := JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), ": null") && r.FirstOutput != nil {
			for _, l := range strings.Split(b.String(), "\n") {
				if strings.HasSuffix(strings.TrimSuffix(l, ","), ": null") {
					t.Errorf("a list is null: %s", l)
				}
			}
		}
		got, err := ReadJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, got, cmpopts.IgnoreUnexported(pipeline.Op{})); d != "" {
			t.Errorf("round trip (-want +got):\n%s", d)
		}
	}
	if _, err := ReadJSON(strings.NewReader(`{"schema_version": 99}`)); err == nil ||
		!strings.Contains(err.Error(), "99") {
		t.Errorf("another version: %v", err)
	}
}
