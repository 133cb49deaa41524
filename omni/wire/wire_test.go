package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &Message{
			Kind: rapid.SampledFrom([]Kind{KindSubmit, KindHandoff, KindOutput}).Draw(t, "kind"),
			ID:   rapid.StringN(0, 40, -1).Draw(t, "id"), Chunk: rapid.Int().Draw(t, "chunk"),
			Text: rapid.String().Draw(t, "text"), Tokens: rapid.SliceOfN(rapid.Int32(), 1, 5).Draw(t, "tokens"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "tensors") {
			m.Tensors = append(m.Tensors, rapid.SliceOf(rapid.Float32()).Draw(t, "tensor"))
			m.BlobData = append(m.BlobData, rapid.SliceOf(rapid.Byte()).Draw(t, "blob"))
		}
		data, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		norm := func(m *Message) {
			for i := range m.Tensors {
				m.Tensors[i] = append([]float32{}, m.Tensors[i]...)
				m.BlobData[i] = append([]byte{}, m.BlobData[i]...)
			}
		}
		norm(m)
		norm(got)
		if diff := cmp.Diff(m, got); diff != "" {
			t.Fatal(diff)
		}
		if cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut"); true {
			if _, err := Decode(data[:cut]); err == nil {
				t.Fatalf("a payload cut at %d of %d decodes", cut, len(data))
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	data, _ := Encode(&Message{Kind: KindHandoff, ID: "a", Tensors: [][]float32{{1, 2}}, BlobData: [][]byte{{3}}})
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := Decode(data); err == nil {
			if _, err := Encode(m); err != nil {
				t.Skip() // grew over the limit when written again
			}
		}
	})
}

func TestFlowsDiffer(t *testing.T) {
	seen := map[uint64]string{}
	for _, id := range []string{"a", "b", "01J"} {
		for from := range 4 {
			for chunk := range 300 {
				f := Flow(id, from, from+1, chunk)
				if f == 0 || f >= 1<<53 {
					t.Fatalf("Flow = %d", f)
				}
				key := id + string(rune('0'+from)) + string(rune(chunk))
				if was, ok := seen[f]; ok {
					t.Fatalf("%q and %q have flow %d", was, key, f)
				}
				seen[f] = key
			}
		}
	}
}
