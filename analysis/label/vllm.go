package label

import "strings"

// vllmPart is what a label of vLLM says of the sequences of one kind.
type vllmPart struct{ word, seqs, tokens string }

// The words of vLLM's labels, which changed over the years, and what may stand behind them.
var (
	vllmWords = []string{
		"context", "ctx", "new", "prefill", "generation", "gen", "cached", "decode", "running",
	}
	vllmUnits = []string{"_reqs", "_requests", "_seqs"}
)

// vllmParts reads the numbers of sequences in prefill and in decode from the text behind "execute":
// behind a word, and in brackets their tokens and sums over them, tokens first: "888_788544",
// "sq32sk55086…". It is no regular expression because a server's trace has a label for each step.
func vllmParts(text string) []vllmPart {
	var out []vllmPart
	for i := 0; i < len(text); {
		if i > 0 && strings.IndexByte("_[( ,", text[i-1]) < 0 {
			i++
			continue
		}
		p, n := vllmPartOf(text[i:])
		if n > 0 {
			out = append(out, p)
		}
		i += max(n, 1)
	}
	return out
}

// vllmPartOf reads the part that text begins with; n is its length, 0 if there is none.
func vllmPartOf(text string) (p vllmPart, n int) {
	for _, w := range vllmWords {
		rest, ok := strings.CutPrefix(text, w)
		if !ok {
			continue
		}
		for _, u := range vllmUnits {
			if behind, ok := strings.CutPrefix(rest, u); ok {
				rest = behind
				break
			}
		}
		if rest == "" || rest[0] != '_' && rest[0] != '=' {
			continue
		}
		p = vllmPart{word: w, seqs: digits(rest[1:])}
		if p.seqs == "" {
			continue
		}
		rest = rest[1+len(p.seqs):]
		if inside, behind, ok := strings.Cut(rest, ")"); ok && strings.HasPrefix(inside, "(") {
			p.tokens, rest = digits(strings.TrimPrefix(inside[1:], "sq")), behind
		}
		return p, len(text) - len(rest)
	}
	return p, 0
}

// digits are the digits that text begins with.
func digits(text string) string {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return text[:n]
}
