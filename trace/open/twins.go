package open

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

// twins reads the files with the same beginning, unless their texts are the same.
// If one is whole and others are cut, the whole one is kept. A file that turns out to hold another
// trace is a trace of its own.
func (r *reading) twins(ctx context.Context, list []*trace.Trace, err error) ([]*trace.Trace, error) {
	best := r.s.Path
	var more []*trace.Trace
	for _, path := range r.s.Twins {
		if err == nil && whole(list) && sameText(path, best, textOf(list)) {
			r.left = append(r.left, Left{path, CopyReason(best)})
			continue
		}
		other, oerr := r.file(ctx, path, r.s.Format)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case oerr != nil:
			r.left = append(r.left, Left{path, oerr.Error()})
		case err == nil && whole(list) && whole(other) && sameRows(list, other):
			r.left = append(r.left, Left{path, CopyReason(best)})
		case err == nil && whole(list) && whole(other):
			more = append(more, other...)
		case err != nil || whole(other) || rows(other) > rows(list) && !whole(list):
			r.left = append(r.left, Left{best, "a part of the trace in " + path})
			list, err, best = other, nil, path
		default:
			r.left = append(r.left, Left{path, "a part of the trace in " + best})
		}
	}
	return append(list, more...), err
}

// textOf is the size of the text that the traces were read from.
func textOf(list []*trace.Trace) int64 {
	var n int64
	for _, t := range list {
		n += t.Repairs.Text
	}
	return n
}

// sameText reports whether the files at two paths hold the same text of size bytes, as far as that can be told
// without unpacking: gzip notes the size and the sum of its last member at the end.
func sameText(path, other string, size int64) bool {
	n, sum := textEnd(path, size)
	if n != size {
		return false
	}
	m, of := textEnd(other, size)
	return m == n && sum == of
}

// textEnd is the size of a file's unpacked text, -1 if it cannot be told, and its CRC-32 if it has the size.
func textEnd(path string, size int64) (int64, uint32) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return -1, 0
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() < 18 {
		return -1, 0
	}
	head, tail := make([]byte, 2), make([]byte, 8)
	if _, err := f.ReadAt(head, 0); err != nil {
		return -1, 0
	}
	if !unpack.Packed(head) {
		if st.Size() != size {
			return st.Size(), 0
		}
		sum := crc32.NewIEEE()
		if _, err := io.Copy(sum, f); err != nil {
			return -1, 0
		}
		return size, sum.Sum32()
	}
	if _, err := f.ReadAt(tail, st.Size()-8); err != nil || string(head) != "\x1f\x8b" {
		return -1, 0
	}
	return int64(binary.LittleEndian.Uint32(tail[4:])), binary.LittleEndian.Uint32(tail)
}

func whole(list []*trace.Trace) bool {
	for _, t := range list {
		if t.Repairs.Count[trace.RepairTruncatedFile]+t.Repairs.Count[trace.RepairTruncatedStream] > 0 {
			return false
		}
	}
	return true
}

// sameRows reports whether traces hold the same slices.
func sameRows(a, b []*trace.Trace) bool { return rows(a) == rows(b) && content(a) == content(b) }

func rows(list []*trace.Trace) int {
	n := 0
	for _, t := range list {
		n += t.Slices.Len()
	}
	return n
}

// content is what traces with the same slices have in common.
func content(list []*trace.Trace) uint64 {
	var n uint64
	for _, t := range list {
		n += t.Meta.Content
	}
	return n
}
