package pipeline

import (
	"flag"
	"reflect"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/docpart"
)

var update = flag.Bool("update", false, "write the fields of docs/report.md")

// TestFieldsAreDocumented holds docs/report.md to the types that report.json is made of.
func TestFieldsAreDocumented(t *testing.T) {
	source := docpart.Source{Module: "github.com/kinetoscope/kinetoscope", Root: "../.."}
	text, err := source.Fields(reflect.TypeFor[Report]())
	if err != nil {
		t.Fatal(err)
	}
	docpart.Part{Page: "../../docs/report.md", Name: "fields", Make: "go test ./analysis/pipeline -update"}.
		Keep(t, text, *update)
}
