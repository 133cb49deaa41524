package analyses

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"

	"github.com/vmihailenco/msgpack/v5"
)

// What Rank finds in a trace can be found on another machine, where the trace lies, and answered
// here: it travels as MessagePack, which keeps every number as it is and tells empty lists from
// none. All fields travel, those without JSON too. A field that is not exported cannot; it is
// refused unless its tag says pack:"-", as for what is needed only while a result is computed.

// Pack encodes what Rank returned. An analysis whose results do not travel returns an *InputError.
func (q *Question) Pack(r any) ([]byte, error) {
	if err := q.Travels(); err != nil {
		return nil, err
	}
	return Encode(r)
}

// Unpack decodes what Pack made, which may be of another version of the program or damaged: then it
// returns an error.
func (q *Question) Unpack(data []byte) (any, error) {
	if err := q.Travels(); err != nil {
		return nil, err
	}
	return q.unpack(data)
}

// Travels returns nil if results of the analysis can be found on another machine, else an
// *InputError.
func (q *Question) Travels() error {
	if why := whyNot(q.result()); why != "" {
		return wrong("%s needs the whole trace: ask it on the host where the trace lies (%s)", q.Name, why)
	}
	return nil
}

// result is the type of what Rank returns.
func (q *asking[O, R]) result() reflect.Type { return reflect.TypeFor[R]() }

func (q *asking[O, R]) unpack(data []byte) (any, error) {
	var r R
	if err := Decode(data, &r); err != nil {
		return nil, err
	}
	if v := reflect.ValueOf(&r).Elem(); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("a result that says nothing")
	}
	return r, nil
}

// Pack encodes what Rank found.
func (p *Page) Pack(f Found) ([]byte, error) {
	out := make([][]byte, len(f))
	for i, q := range p.parts {
		if f[i] == nil {
			continue
		}
		var err error
		if out[i], err = q.Pack(f[i]); err != nil {
			return nil, err
		}
	}
	return Encode(out)
}

// Unpack decodes what Pack made, as Question.Unpack does.
func (p *Page) Unpack(data []byte) (Found, error) {
	var parts [][]byte
	if err := Decode(data, &parts); err != nil {
		return nil, err
	}
	if len(parts) != len(p.parts) {
		return nil, fmt.Errorf("%d parts of a page of %d", len(parts), len(p.parts))
	}
	out := make(Found, len(parts))
	for i, q := range p.parts {
		if _, ok := q.reported(nil); ok {
			continue
		}
		var err error
		if out[i], err = q.Unpack(parts[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", q.Name, err)
		}
	}
	return out, nil
}

// Encode encodes what holds results, as Pack does.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := msgpack.NewEncoder(&b).Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Decode decodes what Encode made, which may be of another version of the program or damaged: then it
// returns an error.
func Decode(data []byte, v any) error {
	d := msgpack.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields(true)
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("a result that another version of the program may have made: %w", err)
	}
	return nil
}

// whyNot says why values of type t do not travel; "" if they do.
func whyNot(t reflect.Type) string {
	seen := map[reflect.Type]bool{}
	var look func(t reflect.Type, name string) string
	look = func(t reflect.Type, name string) string {
		if seen[t] {
			return ""
		}
		seen[t] = true
		switch t.Kind() {
		case reflect.Slice, reflect.Array, reflect.Pointer:
			return look(t.Elem(), name)
		case reflect.Map:
			return cmp.Or(look(t.Key(), name), look(t.Elem(), name))
		case reflect.Func, reflect.Interface, reflect.Chan, reflect.UnsafePointer:
			return fmt.Sprintf("%s of its result is a %s", name, t)
		case reflect.Struct:
			for i := range t.NumField() {
				f := t.Field(i)
				if !f.IsExported() {
					if f.Tag.Get("pack") == "-" {
						continue
					}
					return fmt.Sprintf("%s of %s is not exported", f.Name, t)
				}
				if why := look(f.Type, f.Name); why != "" {
					return why
				}
			}
		}
		return ""
	}
	return look(t, "all")
}
