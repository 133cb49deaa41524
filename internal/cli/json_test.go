package cli

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/kinetoscope/kinetoscope/report"
)

type shouts string

func (s *shouts) MarshalJSON() ([]byte, error) { return json.Marshal(string(*s) + "!") }

// What is written piece by piece is what the encoder writes.
func TestJSONByPieces(t *testing.T) {
	doc := map[string]any{
		"b": []map[string]int{{"x": 1}, nil, {}}, "a<": "text & <more>", "empty": []int{}, "nothing": []int(nil),
		"null": nil, "bytes": []byte("ab"), "raw": json.RawMessage(`[1,{"k":[]}]`), "deep": [][]int{{1, 2}, {}, nil},
		"map": map[string]any{"z": []any{1, "two", nil}}, "own": []shouts{"hey", "ho"},
		"any": []any{map[string]any{}, []string{"x"}, nil, 1.5},
	}
	var got, want bytes.Buffer
	if err := JSON(&got, doc); err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(report.JSONWriter(&want))
	enc.SetIndent("", indent)
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("got  %s\nwant %s", got.String(), want.String())
	}
	got.Reset()
	if err := JSON(&got, map[string]any{}); err != nil || got.String() != "{}\n" {
		t.Errorf("%q, %v", got.String(), err)
	}
	if err := JSON(&got, map[string]any{"f": []func(){nil}}); err == nil {
		t.Error("a function is no JSON")
	}
}
