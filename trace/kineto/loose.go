package kineto

import (
	"bytes"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// Objects that differ in a text, such as a file's name or a request's id, would need a template each. A key whose
// texts nearly all differ from template to template is loose from then on: a new template has a hole in
// place of its texts.

const (
	// textHole is a template's digits of a hole that is a text.
	textHole = -1
	// maxTextHole is the longest text, in bytes, that is the value of a hole. Values lie in memory as they
	// are; longer texts are worth packing.
	maxTextHole = 64
	// looseTexts is how many different texts decide whether a key is loose: it is if they came in no more than
	// four thirds as many templates. What repeats, such as the name of a module beside many shapes, is
	// cheaper in templates.
	looseTexts = 256
	// maxLooseKeys bounds the keys that are counted; an event has some ten.
	maxLooseKeys = 64
)

// textRun returns the offset after what is plainly a text from b[i] on: no quote, no escape, valid UTF-8. It looks
// no further than a hole's value may reach.
func textRun(b []byte, i, end int) int {
	end = min(end, i+maxTextHole)
	from, wide := i, false
	for i < end {
		switch textByte[b[i]] {
		case inText:
		case inWide:
			wide = true
		default:
			end = i
			continue
		}
		i++
	}
	if wide && !utf8.Valid(b[from:i]) {
		return from
	}
	return i
}

// looseKeys are the keys that have texts in templates.
type looseKeys struct {
	keys   map[string]*keyTexts
	any    bool // one of them is loose
	learnt int  // templates
	lit    []byte
}

// keyTexts are the texts of one key, counted until it is decided.
type keyTexts struct {
	templates      int                 // with the key
	last           int                 // number of the one that was counted last
	texts          map[uint64]struct{} // by hash
	decided, loose bool
}

// textWalk walks over the texts of a template that are no keys.
type textWalk struct {
	b   []byte
	end int    // after the quote of the last one
	key []byte // the last key before the last one
}

// next returns where the inside of the next text is; ok is false at the end.
func (w *textWalk) next() (from, to int, ok bool) {
	for i := w.end; ; i = to + 1 {
		q := bytes.IndexByte(w.b[i:], '"')
		if q < 0 {
			return 0, 0, false
		}
		from = i + q + 1
		if to = quoteEnd(w.b, from, len(w.b)); to < 0 {
			return 0, 0, false
		}
		if after := bytes.TrimLeft(w.b[to+1:], " \t\r\n"); len(after) == 0 || after[0] != ':' {
			w.end = to + 1
			return from, to, true
		}
		w.key = w.b[from:to]
	}
}

// learn counts the texts of a new template.
func (k *looseKeys) learn(lit []byte) {
	k.learnt++
	w := textWalk{b: lit}
	for {
		from, to, more := w.next()
		if !more {
			return
		}
		t := k.keys[string(w.key)]
		if t == nil {
			if len(k.keys) == maxLooseKeys {
				continue
			}
			if k.keys == nil {
				k.keys = map[string]*keyTexts{}
			}
			_, hot := hotNames[string(w.key)] // the scan reads its texts by itself
			t = &keyTexts{texts: map[uint64]struct{}{}, decided: hot}
			k.keys[string(w.key)] = t
		}
		if t.decided {
			continue
		}
		if t.last != k.learnt {
			t.templates, t.last = t.templates+1, k.learnt
		}
		if to-from > maxTextHole || bytes.IndexByte(lit[from:to], '\\') >= 0 {
			continue // a hole does not hold it
		}
		if t.texts[ids.OfBytes(lit[from:to])] = struct{}{}; len(t.texts) == looseTexts {
			t.decided, t.loose, t.texts = true, t.templates <= looseTexts*4/3, nil
			k.any = k.any || t.loose
		}
	}
}

// loosen returns lit with holes in place of the texts of loose keys, until the next call; nil if it has none.
func (k *looseKeys) loosen(lit []byte) []byte {
	if !k.any {
		return nil
	}
	out, done := k.lit[:0], 0
	w := textWalk{b: lit}
	for {
		from, to, more := w.next()
		if !more {
			break
		}
		if t := k.keys[string(w.key)]; t != nil && t.loose {
			out = append(append(out, lit[done:from]...), trace.ArgTextHole)
			done = to
		}
	}
	if done == 0 {
		return nil
	}
	k.lit = append(out, lit[done:]...)
	return k.lit
}

// loosened looks for the template that m.lit, the object b[i:next], has without the texts of loose keys, or makes
// it. The values go to the result.
func (s *scanner) loosened(b []byte, i, next int) (id uint32, ok bool) {
	m := &s.tmpl
	lit := m.loose.loosen(m.lit)
	if lit == nil {
		return 0, false
	}
	var t *template
	if id = m.find(lit); id != 0 {
		t = m.list[id-1]
	} else if t = newTemplate(lit); t == nil {
		return 0, false
	}
	vals, _, ok := t.match(b, i, next, s.res.vals, &s.hole)
	if !ok {
		return 0, false
	}
	if id == 0 {
		m.loose.learn(m.lit)
		id = m.add(t)
	}
	s.res.vals = vals
	t.fill(&s.ev.hot, &s.hole)
	return id, true
}
