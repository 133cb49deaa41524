package profiler

import (
	"sync"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// Name is an interned string. Intern names once, at package level.
type Name uint32

// nameTable is the process's interned strings. Names are few and live for ever, so one
// table serves all recorders; reading it takes no lock.
type nameTable struct {
	ids   sync.Map // string -> Name
	mu    sync.Mutex
	texts atomic.Pointer[[]string]
}

var names = func() *nameTable {
	t := &nameTable{}
	t.texts.Store(&[]string{"", tooManyNames})
	t.ids.Store("", Name(0))
	t.ids.Store(tooManyNames, Name(1))
	return t
}()

// tooManyNames stands for every name after the table is full.
const tooManyNames = "(too many names)"

// Intern returns the Name of s; the same text always has the same Name in a process.
// Texts over 64 KiB are cut. After format.MaxNames texts every new one shares a name that
// says so: texts that differ by request belong into Span.Text.
func Intern(s string) Name {
	if n, ok := names.ids.Load(s); ok {
		return n.(Name)
	}
	return names.add(s)
}

func (t *nameTable) add(s string) Name {
	if len(s) > format.MaxString {
		s = s[:format.MaxString]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.ids.Load(s); ok {
		return n.(Name)
	}
	texts := *t.texts.Load()
	if len(texts) >= format.MaxNames {
		return 1
	}
	n := Name(len(texts))
	// Appending in place is safe: readers hold a header whose length ends before it.
	texts = append(texts, s)
	t.texts.Store(&texts)
	t.ids.Store(s, n)
	return n
}

// String returns the text of n, "" for a Name that Intern did not give.
func (n Name) String() string {
	texts := *names.texts.Load()
	if int(n) < len(texts) {
		return texts[n]
	}
	return ""
}
