package mcpserver

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/docpart"
)

var update = flag.Bool("update", false, "write the tools of docs/agents.md")

const toolsTable = `| tool | answers |
|---|---|
| report | where the time went, findings first |
| findings | what stands out, each with its number and the slice behind it |
| %s | the verb of that name ([cli.md](cli.md)), ten rows a table without ` + "`top`" + ` |
| %s | what changed between two traces |
| slices | what happened around a time: slices by begin, around a slice, by name, by length, with arguments |
| search | where a name is: how often, how long, and the ids of its first and longest slice |
| sql | a question in SQL ([sql.md](sql.md)); only what reads, and only the traces' tables |
| inspect | what is in a file, and what was repaired |
| more | the next page of an answer |
`

// TestToolsAreDocumented holds docs/agents.md to the analyses that are registered, and to the
// tools that a client is offered.
func TestToolsAreDocumented(t *testing.T) {
	text := fmt.Sprintf(toolsTable, strings.Join(toolsOf(false), ", "), strings.Join(toolsOf(true), ", "))
	docpart.Part{Page: "../docs/agents.md", Name: "tools", Make: "go test ./mcpserver -update"}.
		Keep(t, text, *update)
	c := client(t, root(t), false, func([]string) Result { return Result{} })
	list, err := c.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range list.Tools {
		if !strings.Contains(text, "| "+tool.Name+" |") && !strings.Contains(text, "| "+tool.Name+",") &&
			!strings.Contains(text, ", "+tool.Name+",") && !strings.Contains(text, ", "+tool.Name+" |") {
			t.Errorf("docs/agents.md has no tool %s", tool.Name)
		}
	}
	for _, name := range toolsOf(false) {
		if !strings.Contains(c.InitializeResult().Instructions, "\""+name+"\"") {
			t.Errorf("agents are not told of %s", name)
		}
	}
}
