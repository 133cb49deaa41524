package coll

// meaning is what the words in a kernel's name mean, as bits.
type meaning uint8

const (
	meansLibrary   meaning = 1 << iota // in a library's namespace, or an exchange between experts
	meansSpelled                       // an operation is spelled out in it
	meansFused                         // compute that an operation is fused with
	meansDispatch                      // one half of an exchange between experts
	meansCombine                       // the other half
	meansDoubt                         // would suit communication
	meansAttention                     // computes attention, whose parts are combined on one device
	meansCompiled                      // named by a compiler after its operands, which an operation may have made
)

// before says what may stand before a word.
type before uint8

const (
	anything before = iota
	noWord          // not a letter, digit or underscore
	noLetter        // not a letter or digit
	nothing         // the word begins the name
)

// after says what must stand behind a word.
type after uint8

const (
	whatever   after = iota
	scope            // "::"
	scopeLater       // more of the same word, then "::"
	member           // "::" and a name
	version          // "_ll" or a version such as "_v2" or neither, then a member
)

// word is a word that is searched for in names.
type word struct {
	text   string // in small letters
	exact  string // how it is written, where that matters
	before before
	after  after
	means  meaning
}

// finder finds all words in one pass over a name, however many words there are: the automaton of
// Aho and Corasick (Efficient string matching, 1975) as a table of states. A trace may have as many
// names as slices, so the cost of a name is paid for every slice.
type finder struct {
	words []word
	class [256]uint8 // letters of both cases are one; 0 stands in no word
	width int
	next  []uint16  // by state and class
	ends  [][]uint8 // words that end in a state
	// steps is next for a walk: by state times width and class, the next state times width, with
	// wordEnds set where a word ends in it.
	steps []uint32
}

// wordEnds marks a step of a finder.
const wordEnds = 1 << 31

func newFinder(words []word) *finder {
	f := &finder{words: words, width: 1}
	for _, w := range words {
		for _, c := range []byte(w.text) {
			if f.class[c] == 0 {
				f.class[c] = uint8(f.width)
				f.width++
			}
		}
	}
	for c := byte('a'); c <= 'z'; c++ {
		f.class[c-'a'+'A'] = f.class[c]
	}
	f.state()
	for k, w := range words {
		s := 0
		for _, c := range []byte(w.text) {
			at := s*f.width + int(f.class[c])
			if f.next[at] == 0 {
				n := f.state()
				f.next[at] = n
			}
			s = int(f.next[at])
		}
		f.ends[s] = append(f.ends[s], uint8(k))
	}
	f.link()
	f.steps = make([]uint32, len(f.next))
	for at, s := range f.next {
		f.steps[at] = uint32(int(s) * f.width)
		if len(f.ends[s]) > 0 {
			f.steps[at] |= wordEnds
		}
	}
	return f
}

func (f *finder) state() uint16 {
	f.next = append(f.next, make([]uint16, f.width)...)
	f.ends = append(f.ends, nil)
	return uint16(len(f.ends) - 1)
}

// link completes each state: where it has no successor of its own, it gets that of the longest word
// that may have begun in the meantime.
func (f *finder) link() {
	fail := make([]uint16, len(f.ends))
	var queue []uint16
	for _, s := range f.next[:f.width] {
		if s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		f.ends[s] = append(f.ends[s], f.ends[fail[s]]...)
		for c := range f.width {
			at, other := int(s)*f.width+c, f.next[int(fail[s])*f.width+c]
			if n := f.next[at]; n != 0 {
				fail[n] = other
				queue = append(queue, n)
			} else {
				f.next[at] = other
			}
		}
	}
}

// in returns what the words in s mean.
func (f *finder) in(s []byte) meaning {
	var m meaning
	state := uint32(0)
	for i := 0; i < len(s); i++ {
		state = f.steps[state+uint32(f.class[s[i]])]
		if state&wordEnds == 0 {
			continue
		}
		state &^= wordEnds
		for _, k := range f.ends[int(state)/f.width] {
			if w := &f.words[k]; m&w.means == 0 && w.stands(s, i+1) {
				m |= w.means
			}
		}
	}
	return m
}

// stands reports whether the word whose letters end at s[end] stands there by itself.
func (w *word) stands(s []byte, end int) bool {
	at := end - len(w.text)
	if w.exact != "" && string(s[at:end]) != w.exact {
		return false
	}
	if at > 0 {
		c := s[at-1]
		switch {
		case w.before == nothing,
			w.before == noWord && inWord(c),
			w.before == noLetter && inWord(c) && c != '_':
			return false
		}
	}
	return w.after.follows(s[end:])
}

// inWord reports whether c is a letter, a digit or an underscore.
func inWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// follows reports whether rest begins with what must stand behind a word.
func (a after) follows(rest []byte) bool {
	i := 0
	switch a {
	case whatever:
		return true
	case scopeLater:
		for i < len(rest) && inWord(rest[i]) {
			i++
		}
	case version:
		i = versionLen(rest)
	}
	scoped := len(rest) >= i+2 && rest[i] == ':' && rest[i+1] == ':'
	if a == scope || a == scopeLater {
		return scoped
	}
	return scoped && len(rest) > i+2 && inWord(rest[i+2])
}

// versionLen is the length of the "_ll" or "_v2" that rest begins with, 0 without.
func versionLen(rest []byte) int {
	if len(rest) >= 3 && string(rest[:3]) == "_ll" {
		return 3
	}
	i := 2
	if len(rest) < 3 || string(rest[:2]) != "_v" {
		return 0
	}
	for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
		i++
	}
	if i == 2 {
		return 0
	}
	return i
}
