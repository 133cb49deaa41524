package deploy

import "reflect"

// merge returns nested with every field that it leaves open taken from flat, so that
// both places in which vLLM-Omni writes an engine's arguments work.
func merge(nested, flat engineDoc) engineDoc {
	n, f := reflect.ValueOf(&nested).Elem(), reflect.ValueOf(flat)
	for i := range n.NumField() {
		if n.Field(i).IsZero() {
			n.Field(i).Set(f.Field(i))
		}
	}
	return nested
}
