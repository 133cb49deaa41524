package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

// FuzzReadJSON: what reads as a report can be shown, in every form and width.
func FuzzReadJSON(f *testing.F) {
	for _, r := range []*pipeline.Report{omni(), diffusion(), pipeline.Analyze(nil, pipeline.Options{})} {
		var b bytes.Buffer
		if err := JSON(&b, r); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte(`{"schema_version":1,"window_ns":-5,"stages":[{"ranks":[{"time":[{"share":1e300}],"strip":"éé"},{"time":[{"share":-1}]}]}],
		"first_output":{"total_ns":3,"links":[{"start_ns":-9000000000000000000,"dur_ns":9000000000000000000}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadJSON(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, o := range []TextOptions{{}, {Width: MinWidth, ASCII: true}, {Color: true, Rows: -1, Ops: -1}} {
			var b strings.Builder
			if err := Text(&b, r, o); err != nil {
				t.Fatal(err)
			}
			if o.ASCII {
				for _, c := range []byte(b.String()) {
					if c >= 0x80 {
						t.Fatalf("%q is no ASCII", c)
					}
				}
			}
		}
		if err := SVG(&bytes.Buffer{}, r); err != nil {
			t.Fatal(err)
		}
	})
}
