package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/trace/format"
)

// A format that does its work when the file is completed, as pages, tables and sheets do, and is
// interrupted then.
func init() {
	format.Register(format.Format{
		Name: "late", Title: "late file", Extensions: []string{".late"}, Lacks: "everything",
		Create: func(w io.Writer, _ format.WriteOptions) format.Writer { return &lateFile{w: w} },
	})
}

type lateFile struct{ w io.Writer }

// interruptLate interrupts the program while a late file is completed.
var interruptLate = func() {}

func (l *lateFile) Add(context.Context, format.Rank) error { return nil }

func (l *lateFile) Close(ctx context.Context) error {
	interruptLate()
	if _, err := io.WriteString(l.w, "late"); err != nil {
		return err
	}
	return ctx.Err()
}

// TestInterruptedWhileWritten: an interrupt ends a conversion while its file is completed, too, leaves
// nothing, and is called one; for formats that look at their context and those that only write.
func TestInterruptedWhileWritten(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "a.json")
	events := `{"ph":"X","name":"aten::mm","cat":"cpu_op","ts":1,"dur":2,"pid":1,"tid":1}`
	if err := os.WriteFile(in, []byte(`{"traceEvents":[`+events+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	interruptLate = cancel
	defer func() { interruptLate = func() {} }()
	out := filepath.Join(dir, "a.late")
	var said bytes.Buffer
	code := run(ctx, []string{"convert", in, "-o", out}, cli.Streams{In: strings.NewReader(""), Out: io.Discard,
		Err: &said})
	if code != cli.ExitFailed || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, said.String())
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an interrupted conversion left a file: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".kinetoscope-*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}
