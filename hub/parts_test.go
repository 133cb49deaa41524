package hub

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// A file that came in parts is read as one, and a missing part is said; as many as nobody sends are
// refused before one is asked for.
func TestOpenUpload(t *testing.T) {
	r := newRig(t, nil)
	js, err := jetstream.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	obs, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "parts"})
	if err != nil {
		t.Fatal(err)
	}
	up := protocol.Artifact{Name: "trace.json", Object: "s/r/trace.json", Parts: 3}
	for i, text := range []string{"one ", "two ", "three"} {
		if _, err := obs.PutString(t.Context(), protocol.PartName(up.Object, i), text); err != nil {
			t.Fatal(err)
		}
	}
	read := func(up protocol.Artifact) (string, error) {
		o, err := openUpload(t.Context(), obs, up)
		if err != nil {
			return "", err
		}
		defer o.Close()
		b, err := io.ReadAll(o)
		return string(b), err
	}
	if got, err := read(up); got != "one two three" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	up.Parts = 4
	if _, err := read(up); err == nil || !strings.Contains(err.Error(), protocol.PartName(up.Object, 3)) {
		t.Errorf("a part is missing: %v", err)
	}
	for _, n := range []int{-1, protocol.MaxParts + 1} {
		up.Parts = n
		if _, err := read(up); !errors.As(err, new(*refusedError)) {
			t.Errorf("%d parts: %v", n, err)
		}
	}
}
