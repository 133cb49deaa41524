package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
)

// indent is one level of --json.
const indent = "  "

// jsonMembers writes a map as json.Encoder would, but each member by itself and each entry of its
// lists by itself.
func jsonMembers(w io.Writer, doc map[string]any) error {
	out := &jsonWriter{w: bufio.NewWriter(w)}
	open := "{\n"
	for _, k := range slices.Sorted(maps.Keys(doc)) {
		out.text(open + indent)
		out.value(k, "")
		out.text(": ")
		out.entries(doc[k])
		open = ",\n"
	}
	out.text("\n}\n")
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

// jsonWriter keeps the first error.
type jsonWriter struct {
	w   *bufio.Writer
	err error
}

func (j *jsonWriter) text(s string) {
	if j.err == nil {
		_, j.err = j.w.WriteString(s)
	}
}

func (j *jsonWriter) value(v any, prefix string) {
	if j.err != nil {
		return
	}
	var b []byte
	if b, j.err = json.MarshalIndent(v, prefix, indent); j.err == nil {
		_, j.err = j.w.Write(b)
	}
}

// entries writes the value of a member: a list that says nothing of its own form entry by entry.
func (j *jsonWriter) entries(v any) {
	list := reflect.ValueOf(v)
	if _, own := v.(json.Marshaler); own || list.Kind() != reflect.Slice || list.Len() == 0 ||
		list.Type().Elem().Kind() == reflect.Uint8 {
		j.value(v, indent)
		return
	}
	open := "[\n"
	for i := range list.Len() {
		j.text(open + indent + indent)
		// By its address, as in a list, whose entries' methods of pointers are used.
		j.value(list.Index(i).Addr().Interface(), indent+indent)
		open = ",\n"
	}
	j.text("\n" + indent + "]")
}
