package parquet

import (
	"math"
	"unsafe"

	"github.com/kinetoscope/kinetoscope/trace/ids"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// dictionary gives every distinct text of a column's chunk a number.
type dictionary struct {
	texts ids.List[string]
	byKey []int32 // number of the text with a key, +1; 0: none yet
	keys  []uint32
	last  string
	code0 int32
}

// reset forgets all texts, before the chunk of col.
func (d *dictionary) reset(col *table.Column) {
	for _, k := range d.keys {
		d.byKey[k] = 0
	}
	d.keys = d.keys[:0]
	d.texts.Clear()
	d.last = ""
	if n := col.Keys; col.Key != nil && len(d.byKey) < n {
		d.byKey = make([]int32, n)
	}
}

// code returns the number of the text of row i; false where it is null.
func (d *dictionary) code(col *table.Column, i int) (int32, bool) {
	k := uint32(math.MaxUint32)
	if col.Key != nil {
		k = col.Key(i)
	}
	keyed := int64(k) < int64(col.Keys)
	if keyed && d.byKey[k] > 0 {
		return d.byKey[k] - 1, true
	}
	s, ok := col.Text(i)
	if !ok {
		return 0, false
	}
	c := d.of(s)
	if keyed { // two keys may have one text
		d.byKey[k] = c + 1
		d.keys = append(d.keys, k)
	}
	return c, true
}

func (d *dictionary) of(s string) int32 {
	// Neighbours often have the same text at the same place of memory.
	if d.texts.Len() > 0 && len(s) == len(d.last) && unsafe.StringData(s) == unsafe.StringData(d.last) {
		return d.code0
	}
	n, _ := d.texts.Number(s, ids.OfText(s))
	d.last, d.code0 = s, int32(n)
	return d.code0
}
