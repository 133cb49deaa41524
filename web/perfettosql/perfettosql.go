// Package perfettosql is the questions of docs/sql.md for people who stay in Perfetto's UI: SQL modules
// with views over Perfetto's tables, and a macro for each question, as an extension server gives them out.
//
// The protocol is that of https://perfetto.dev/docs/visualization/extension-server-protocol. What is given
// out is part of the program and says nothing of any trace.
package perfettosql

import (
	"bufio"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
)

// Namespace begins the names of all modules and macros, as Perfetto asks for.
const Namespace = "io.github.kinetoscope"

// Module is the one collection of extensions that the server has; Perfetto's UI takes it unasked.
const Module = "default"

//go:embed modules/*.sql questions.sql
var files embed.FS

// Manifest is what an extension server says of itself.
type Manifest struct {
	Name      string         `json:"name"`
	Namespace string         `json:"namespace"`
	Features  []Feature      `json:"features"`
	Modules   []ModuleOfUser `json:"modules"`
}

// Feature is a kind of extension that a server has.
type Feature struct {
	Name string `json:"name"` // "macros", "sql_modules"
}

// ModuleOfUser is a collection of extensions, as its user sees it.
type ModuleOfUser struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Macros are what the command palette gets.
type Macros struct {
	Macros []Macro `json:"macros"`
}

// Macro is a question: a command that asks it and shows the answer in a tab.
type Macro struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	Run  []Command `json:"run"`
}

// Command is a command of Perfetto's UI.
type Command struct {
	ID   string   `json:"id"`
	Args []string `json:"args"`
}

// SQLModules are what INCLUDE PERFETTO MODULE finds.
type SQLModules struct {
	Modules []SQLModule `json:"sql_modules"`
}

// SQLModule is a file of PerfettoSQL.
type SQLModule struct {
	Name string `json:"name"`
	SQL  string `json:"sql"`
}

// Question is a question of docs/sql.md in PerfettoSQL.
type Question struct {
	Title string
	SQL   string // modules that it includes, and the query
}

// runQuery is the command that asks a question and shows the answer as a table.
const runQuery = "dev.perfetto.RunQueryAndShowTab"

// TheManifest is the server's.
func TheManifest() Manifest {
	return Manifest{Name: "Kinetoscope", Namespace: Namespace,
		Features: []Feature{{"macros"}, {"sql_modules"}},
		Modules:  []ModuleOfUser{{Module, "Kernels, steps and requests"}}}
}

// Questions returns all questions, in the order of docs/sql.md.
func Questions() []Question {
	text, err := files.ReadFile("questions.sql")
	if err != nil {
		panic(err) // it is part of the program
	}
	var out []Question
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		if title, ok := strings.CutPrefix(lines.Text(), "-- "); ok {
			out = append(out, Question{Title: title})
			continue
		}
		if q := &out[len(out)-1]; q.SQL != "" || lines.Text() != "" {
			q.SQL += lines.Text() + "\n"
		}
	}
	for i := range out {
		out[i].SQL = strings.TrimSpace(out[i].SQL)
	}
	return out
}

// TheModules are all SQL modules, by name.
func TheModules() SQLModules {
	names, err := fs.Glob(files, "modules/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	var out SQLModules
	for _, n := range names {
		text, err := files.ReadFile(n)
		if err != nil {
			panic(err) // it is part of the program
		}
		out.Modules = append(out.Modules, SQLModule{
			fmt.Sprintf("%s.%s", Namespace, strings.TrimSuffix(path.Base(n), ".sql")), string(text)})
	}
	return out
}

// TheMacros are the questions as commands.
func TheMacros() Macros {
	var out Macros
	for _, q := range Questions() {
		out.Macros = append(out.Macros, Macro{ID: Namespace + "." + identifier(q.Title),
			Name: "Kinetoscope: " + q.Title, Run: []Command{{runQuery, []string{q.SQL}}}})
	}
	return out
}

// identifier makes one word of a title.
func identifier(title string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(title, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
