package trace

import "unsafe"

// stringBytes is the memory of a text beside its bytes: its header, its hash, and its slots in a
// hash table that is at most half full, each in a slice with up to twice the capacity it uses.
const stringBytes = 64

// Bytes returns the memory that the trace takes, in bytes: columns with their spare capacity,
// tracks, texts and arguments, and the index if it was asked for. The rest, such as devices, is
// small and not counted.
func (t *Trace) Bytes() int64 {
	s, i, c, f := &t.Slices, &t.Instants, &t.Counters, &t.Flows
	n := t.ArgsBytes() + room(t.Tracks) + t.Strings.bytes + stringBytes*int64(t.Strings.list.Len())
	n += room(s.Start) + room(s.Dur) + room(s.Name) + room(s.Cat) + room(s.Track) + room(s.Corr) + room(s.Args) + room(
		s.Event)
	n += room(i.Time) + room(i.Name) + room(i.Cat) + room(i.Track) + room(i.Args)
	n += room(c.Time) + room(c.Name) + room(c.Series) + room(c.Track) + room(c.Value)
	n += room(f.Time) + room(f.ID) + room(f.Track) + room(f.Cat) + room(f.Name) + room(f.Start)
	t.index.mu.Lock()
	defer t.index.mu.Unlock()
	if x := t.index.made; x != nil {
		n += room(x.Order) + room(x.Parent) + room(x.Depth) + room(x.Lane) + room(x.Self)
	}
	return n
}

// room is the memory of a column, in bytes.
func room[T any](col []T) int64 {
	var x T
	return int64(cap(col)) * int64(unsafe.Sizeof(x))
}
