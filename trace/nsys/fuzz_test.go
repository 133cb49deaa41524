package nsys

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace/sqlite"
)

func FuzzFromDB(f *testing.F) {
	files, err := filepath.Glob("testdata/*.sqlite")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		db, err := sqlite.Open(t.Context(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if tr, err := FromDB(t.Context(), db); err == nil && tr.Validate() != nil {
			t.Fatal(tr.Validate())
		}
	})
}
