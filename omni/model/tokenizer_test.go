package model

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func newTokenizer(t testing.TB, vocab int) *Tokenizer {
	t.Helper()
	k, err := NewTokenizer(vocab)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func FuzzTokenizer(f *testing.F) {
	k := newTokenizer(f, 2048)
	for _, s := range []string{"", "the sea", "Hello, wörld! 你好 🙂", "\xff\xfe broken \xe4\xbd",
		" the the  theory of a quiet morning.\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ids := k.Encode(s)
		if len(ids) > len(s) {
			t.Fatalf("%d tokens for %d bytes", len(ids), len(s))
		}
		var bytes strings.Builder
		d := k.NewDetokenizer()
		var stream strings.Builder
		for _, id := range ids {
			bytes.WriteString(k.text(id))
			out := d.Push(id)
			if !utf8.ValidString(out) {
				t.Fatalf("Push gave %q", out)
			}
			stream.WriteString(out)
		}
		stream.WriteString(d.Flush())
		if bytes.String() != s {
			t.Fatalf("%q came back as %q", s, bytes.String())
		}
		want := string([]rune(s)) // each byte that is not UTF-8 gives U+FFFD
		if stream.String() != want || k.Decode(ids) != want {
			t.Fatalf("%q decoded to %q, stream %q", s, k.Decode(ids), stream.String())
		}
	})
}

func TestTokenizer(t *testing.T) {
	k := newTokenizer(t, 2048)
	if n := len(k.Encode(" the quiet river")); n != 3 {
		t.Errorf("%d tokens for three words", n)
	}
	got := k.EncodeChat([]ChatTurn{{"system", "A"}, {"user", ""}, {"assistant", "B"}, {"tool", "C"}})
	want := []int32{tokenBOS, tokenSystem, 'A', tokenEndOfTurn, tokenUser, tokenEndOfTurn, tokenAssistant, 'B',
		tokenEndOfTurn, tokenUser, 'C', tokenEndOfTurn, tokenAssistant}
	if id := k.ids["A"]; id != 0 {
		want[2] = id
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s := k.Decode([]int32{tokenBOS, -5, 1 << 30, 'x', tokenEOS}); s != "x" {
		t.Errorf("specials and unknown ids decode to %q", s)
	}
	bad := map[int32]bool{}
	for _, id := range k.Unprintable() {
		bad[id] = true
	}
	for id := range int32(2048) {
		if s := k.text(id); !bad[id] && id != k.EOS() && (s == "" || !utf8.ValidString(s)) {
			t.Errorf("token %d is not suppressed and says %q", id, s)
		}
	}
	if len(bad) >= 2048-300 || bad[k.EOS()] {
		t.Errorf("%d tokens suppressed", len(bad))
	}
	if _, err := NewTokenizer(271); err == nil {
		t.Error("no room for specials")
	}
	if k := newTokenizer(t, 272); len(k.Unprintable()) != 271 || len(k.Encode(" the")) != 4 {
		t.Error("a tokenizer of bytes alone")
	}
}
