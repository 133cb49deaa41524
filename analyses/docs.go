package analyses

import (
	"fmt"
	"strings"
)

// VerbRow is the analysis' row in the first table of docs/cli.md: verb, what it answers,
// names of its tables.
func (a *Analysis) VerbRow() string {
	names := make([]string, len(a.Tables))
	for i, t := range a.Tables {
		names[i] = "`" + t + "`"
	}
	verb := a.Name
	if a.Compares() {
		verb += " A B"
	}
	return fmt.Sprintf("| `%s` | %s | %s |", verb, a.Answers, strings.Join(names, ", "))
}

// JSONRow is the analysis' row in the table of docs/cli.md on JSON: verb, type of an entry
// of "ranks", further fields.
func (a *Analysis) JSONRow() string {
	var more []string
	ranks := "–"
	for _, f := range a.JSON {
		if f.Key == "ranks" {
			ranks = code(f.Type)
			continue
		}
		more = append(more, fmt.Sprintf("`%s`: %s", f.Key, code(f.Type)))
	}
	return strings.TrimSuffix(fmt.Sprintf("| `%s` | %s | %s", a.Name, ranks, strings.Join(more, ", ")), " ") + " |"
}

// code sets the Go types of a text as code.
func code(text string) string {
	words := strings.Split(text, " ")
	for i, w := range words {
		name := strings.TrimRight(w, ",;")
		if strings.Contains(name, ".") || strings.HasPrefix(name, "--") {
			words[i] = "`" + name + "`" + w[len(name):]
		}
	}
	return strings.Join(words, " ")
}
