package docpart

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Source says where the sources of the types lie that Fields describes.
type Source struct {
	Module string // import path that Root is the directory of
	Root   string // from the test's directory
}

// Fields describes, as tables in Markdown, how a value of root looks as JSON: the fields of its
// type and of every struct below it, each type once, in the order in which a reader meets them.
// A field's meaning is its comment in the source, or its type's if that is a struct; without
// either it is an error, so that no field is on the page without its meaning.
func (s Source) Fields(root reflect.Type) (string, error) {
	f := &fields{source: s, parsed: map[string]map[string]*ast.StructType{}, docs: map[string]string{}}
	f.queue = append(f.queue, root)
	var b strings.Builder
	for k := 0; k < len(f.queue); k++ { // it grows
		if k > 0 {
			b.WriteString("\n")
		}
		if err := f.table(&b, f.queue[k]); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

type fields struct {
	source Source
	queue  []reflect.Type
	parsed map[string]map[string]*ast.StructType // by import path and name
	docs   map[string]string                     // of types, by import path, a dot and the name
}

func (f *fields) table(b *strings.Builder, t reflect.Type) error {
	rows, err := f.rows(t)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "### Fields of %s\n%s\n\n| field | type | meaning |\n|---|---|---|\n", t.Name(), f.docs[key(t)])
	for _, r := range rows {
		b.WriteString(r)
	}
	return nil
}

func key(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// rows are those of t's table; embedded structs' fields are among them, as they are in JSON.
func (f *fields) rows(t reflect.Type) ([]string, error) {
	source, err := f.find(t)
	if err != nil {
		return nil, err
	}
	meanings := comments(source)
	names := jsonNames(t)
	var out []string
	for i := range t.NumField() {
		field := t.Field(i)
		tag, _, tagged := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || tag == "-" {
			continue
		}
		if field.Anonymous && !tagged && tag == "" {
			more, err := f.rows(field.Type)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		if tag == "" {
			tag = field.Name
		}
		meaning := meanings[field.Name]
		if meaning == "" && field.Type.Kind() == reflect.Struct {
			if _, err := f.find(field.Type); err != nil {
				return nil, err
			}
			meaning = f.docs[key(field.Type)]
		}
		if meaning == "" {
			return nil, fmt.Errorf("%s.%s has no comment that says what it is", t, field.Name)
		}
		kind := f.kind(field.Type)
		if strings.Contains(field.Tag.Get("json"), ",omit") {
			kind += ", may be left out"
		}
		out = append(out, fmt.Sprintf("| `%s` | %s | %s |\n", tag, kind,
			strings.ReplaceAll(f.spelled(meaning, names), "|", "\\|")))
	}
	return out, nil
}

// jsonNames are the fields of t as JSON has them, by their names in Go.
func jsonNames(t reflect.Type) map[string]string {
	out := map[string]string{}
	for _, field := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag != "" && tag != "-" {
			out[field.Name] = tag
		}
	}
	return out
}

// named is a name of Go in a comment: a field, or a type and its field.
var named = regexp.MustCompile(`\b([A-Z]\w*\.)?[A-Z]\w*\b`)

// spelled writes the fields that a comment names as JSON has them.
func (f *fields) spelled(text string, names map[string]string) string {
	return named.ReplaceAllStringFunc(text, func(word string) string {
		in, field, dotted := strings.Cut(word, ".")
		if !dotted {
			if tag := names[word]; tag != "" {
				return "`" + tag + "`"
			}
			return word
		}
		for _, t := range f.queue {
			if tag := jsonNames(t)[field]; tag != "" && t.Name() == in {
				return "`" + tag + "` of " + in
			}
		}
		return word
	})
}

// kind says what JSON has of t, and queues the structs that it leads to.
func (f *fields) kind(t reflect.Type) string {
	texts := reflect.TypeFor[encoding.TextMarshaler]()
	own := reflect.TypeFor[json.Marshaler]()
	switch {
	case t.Kind() == reflect.Pointer:
		return f.kind(t.Elem()) + " or null"
	case t.Implements(texts) || reflect.PointerTo(t).Implements(texts):
		return "text"
	case t.Implements(own) || reflect.PointerTo(t).Implements(own):
		return "see below"
	}
	switch t.Kind() {
	case reflect.Struct:
		if !slices.Contains(f.queue, t) {
			f.queue = append(f.queue, t)
		}
		return fmt.Sprintf("[%s](#fields-of-%s)", t.Name(), strings.ToLower(t.Name()))
	case reflect.Slice, reflect.Array:
		return "list of " + f.kind(t.Elem())
	case reflect.Map:
		return "object: " + f.kind(t.Key()) + " to " + f.kind(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "whole number"
}

// find returns a struct's source.
func (f *fields) find(t reflect.Type) (*ast.StructType, error) {
	rel, ours := strings.CutPrefix(t.PkgPath(), f.source.Module)
	if !ours || t.Name() == "" {
		return nil, fmt.Errorf("%v is no named type of %s", t, f.source.Module)
	}
	if f.parsed[t.PkgPath()] == nil {
		dir := filepath.Join(f.source.Root, filepath.FromSlash(path.Clean("/"+rel)))
		if err := f.parse(t.PkgPath(), dir); err != nil {
			return nil, err
		}
	}
	s := f.parsed[t.PkgPath()][t.Name()]
	if s == nil {
		return nil, fmt.Errorf("%v: no such struct in its package's sources", t)
	}
	return s, nil
}

func (f *fields) parse(pkg, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	f.parsed[pkg] = map[string]*ast.StructType{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range decl.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if s, ok := ts.Type.(*ast.StructType); ok {
					f.parsed[pkg][ts.Name.Name] = s
					f.docs[pkg+"."+ts.Name.Name] = sentence(decl.Doc, ts.Doc)
				}
			}
		}
	}
	return nil
}

// comments are the meanings of a struct's fields: the comment before a field, or the one behind it.
func comments(s *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, field := range s.Fields.List {
		text := sentence(field.Doc, field.Comment)
		for _, name := range field.Names {
			out[name.Name] = text
		}
	}
	return out
}

// sentence is what comments say, in one line.
func sentence(groups ...*ast.CommentGroup) string {
	var parts []string
	for _, g := range groups {
		if g != nil {
			parts = append(parts, strings.Fields(g.Text())...)
		}
	}
	return strings.Join(parts, " ")
}
