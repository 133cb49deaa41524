package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// cheap is what looking at an index that is not taken may allocate: less than the smallest of those here takes.
const cheap = 1 << 20

// someTrace writes a file that has the size of a trace, and returns it with its stamp.
func someTrace(t *testing.T) (file string, stamp Stamp) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "trace.json")
	if err := os.WriteFile(file, bytes.Repeat([]byte(" "), smallFile), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, Stamp{st.Size(), st.ModTime().UnixNano()}
}

// beginning is the magic number, a header and its length, as an index begins.
func beginning(head []byte) []byte {
	b := binary.LittleEndian.AppendUint64([]byte(magic), uint64(len(head)))
	return append(b, head...)
}

// TestHostileIndexesCostNothing puts beside a trace what no program wrote: it is refused for what its beginning or
// its size says, before memory is taken for it.
func TestHostileIndexesCostNothing(t *testing.T) {
	file, stamp := someTrace(t)
	head := func(h header) []byte {
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return beginning(b)
	}
	crowd := []byte(`{"Tracks": [` + strings.Repeat(`{},`, maxObjects) + `{}]}`)
	long := binary.LittleEndian.AppendUint64([]byte(magic), maxHeader)
	longer := binary.LittleEndian.AppendUint64([]byte(magic), maxHeader+1)
	for name, c := range map[string]struct {
		begins []byte
		size   int64 // holes behind it
		want   error
	}{
		"larger than any index of this file": {head(header{Source: stamp}), 4 << 30, ErrTooLarge},
		"of another file":                    {head(header{Source: Stamp{1, 2}}), maxRatio * smallFile, ErrStale},
		"of another version":                 {[]byte("KTINDEX\x01"), maxRatio * smallFile, ErrStale},
		"no index":                           {nil, maxRatio * smallFile, ErrCorrupt},
		"a header of no bytes":               {beginning(nil)[:8], maxRatio * smallFile, ErrCorrupt},
		"a header that ends behind the file": {long, 64, ErrCorrupt},
		"a header of more bytes than any":    {longer, maxRatio * smallFile, ErrTooLarge},
		"a crowd of tracks":                  {beginning(crowd), maxRatio * smallFile, ErrTooLarge},
		"rows that are not there": {head(header{Source: stamp, Slices: 1 << 60, Texts: 1 << 60, Templates: 1 << 60,
			Packed: 1 << 60, Flows: -1}), 0, ErrCorrupt},
	} {
		path := file + Suffix
		if err := errors.Join(os.WriteFile(path, c.begins, 0o600), grow(path, c.size)); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := (Cache{Beside: true}).Load(file, nil)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, expected %v", name, err, c.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > cheap {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
}

// grow makes the file at path no smaller than size, without writing.
func grow(path string, size int64) error {
	st, err := os.Stat(path)
	if err != nil || st.Size() >= size {
		return err
	}
	return os.Truncate(path, size)
}

// TestRoomForIndexes asks for the room of an index before it is read, and makes none that would not be taken.
func TestRoomForIndexes(t *testing.T) {
	file, _ := someTrace(t)
	c := Cache{Beside: true}
	tr := trace.New()
	tr.AddTrack(trace.Track{})
	for range 10_000 {
		tr.AddSlice(trace.Slice{Name: "a"})
	}
	if err := c.Save(file, tr); err != nil {
		t.Fatal(err)
	}
	var asked int64
	if _, err := c.Load(file, func(n int64) bool { asked = n; return false }); !errors.Is(err, ErrTooLarge) ||
		asked < 450_000 {
		t.Errorf("asked for %d: %v", asked, err)
	}
	if got, err := c.Load(file, func(int64) bool { return true }); err != nil || got.Slices.Len() != 10_000 {
		t.Error(err)
	}
	for range 60_000 {
		tr.AddSlice(trace.Slice{Name: "a"})
	}
	if err := c.Save(file, tr); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an index larger than is taken: %v", err)
	}
	if left, _ := filepath.Glob(file + ".*.tmp"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestIndexesOfOthers takes an index from the trace's owner, from root and from this user, and from nobody else.
func TestIndexesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	file, _ := someTrace(t)
	c := Cache{Beside: true}
	tr := trace.New()
	tr.AddTrack(trace.Track{})
	if err := c.Save(file, tr); err != nil {
		t.Fatal(err)
	}
	const nobody, other = 65534, 65533
	for _, s := range []struct {
		trace, index int
		want         error
	}{{0, 0, nil}, {nobody, 0, nil}, {nobody, nobody, nil}, {0, nobody, ErrForeign}, {nobody, other, ErrForeign}} {
		if err := errors.Join(os.Chown(file, s.trace, -1), os.Chown(file+Suffix, s.index, -1)); err != nil {
			t.Skip(err)
		}
		if _, err := c.Load(file, nil); !errors.Is(err, s.want) {
			t.Errorf("trace of %d, index of %d: %v", s.trace, s.index, err)
		}
	}
}
