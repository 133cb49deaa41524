package load

import (
	"strings"
	"testing"
)

func FuzzRead(f *testing.F) {
	f.Add("p.txt", "a\n\nb\n")
	f.Add("p.jsonl", `{"prompt": "a", "max_tokens": 3, "seed": 1}`+"\n{}\n")
	f.Add("p.jsonl", `{"prompt": 3}`)
	f.Fuzz(func(t *testing.T, name, s string) {
		if list, err := Read(name, strings.NewReader(s)); err == nil && len(list) == 0 {
			t.Fatal("no prompt, and no error")
		}
	})
}
