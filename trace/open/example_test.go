package open_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Reads all traces of a directory, and says what it left out.
func ExampleFiles() {
	dir, err := os.MkdirTemp("", "traces")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for rank := range 2 {
		text := fmt.Sprintf(`{"distributedInfo": {"rank": %d, "world_size": 2}, "traceEvents": [
			{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": %d, "tid": 1, "ts": 5, "dur": 20}]}`, rank,
			100+rank)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("rank%d.json", rank)), []byte(text), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.json"), []byte(`{"by": "me"}`), 0o600); err != nil {
		log.Fatal(err)
	}
	traces, err := open.Files(context.Background(), []string{dir}, open.Options{Left: func(l open.Left) {
		fmt.Println("left out:", filepath.Base(l.Path))
	}})
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range traces {
		fmt.Printf("rank %d of %d: %s for %d ns\n",
			t.Meta.Rank, t.Meta.WorldSize, t.String(t.Slices.Name[0]), t.Slices.Dur[0])
	}
	// Output:
	// left out: notes.json
	// rank 0 of 2: aten::mm for 20000 ns
	// rank 1 of 2: aten::mm for 20000 ns
}
