package deploy

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// TestPipelineNames: a deployment and what joins a hub by hand are named by one rule.
func TestPipelineNames(t *testing.T) {
	for _, name := range []string{
		"omni", "_night", "-", "9", "A-b_C", strings.Repeat("x", 64),
		strings.Repeat("x", 65), "a.b", "a b", "*", "ü", "a/b", "a\n",
	} {
		p, _, err := Load(Builtins[0])
		if err != nil {
			t.Fatal(err)
		}
		p.Name = name
		got, want := p.Validate(), protocol.ValidatePipelineName(name)
		if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
			t.Errorf("%q: a deployment says %v, the protocol %v", name, got, want)
		}
	}
}
