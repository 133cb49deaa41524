package mcpserver

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Limits of the answers that are kept for further pages.
const (
	keptAnswers = 32      // the latest; an agent asks for the next page soon or never
	maxAnswer   = 4 << 20 // bytes of one; a longer one is cut, and says so
)

// pages keeps answers that are longer than a page.
type pages struct {
	mu    sync.Mutex
	next  int
	texts map[int]string
}

// first returns the first page of a text and keeps the rest.
func (p *pages) first(text string) Answer {
	if len(text) <= PageBytes {
		return Answer{Text: text}
	}
	if len(text) > maxAnswer {
		text = strings.ToValidUTF8(text[:maxAnswer],
			"") + fmt.Sprintf("\n… cut: the answer has more than %d bytes; ask for less\n", maxAnswer)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.texts == nil {
		p.texts = map[int]string{}
	}
	p.next++
	p.texts[p.next] = text
	delete(p.texts, p.next-keptAnswers)
	return page(text, p.next, 0)
}

// more returns the page at a cursor.
func (p *pages) more(cursor string) (Answer, error) {
	a, b, ok := strings.Cut(cursor, ":")
	number, err := strconv.Atoi(a)
	at, err2 := strconv.Atoi(b)
	if !ok || err != nil || err2 != nil {
		return Answer{}, fmt.Errorf("cursor %q: it must be one that an answer ended with", cursor)
	}
	p.mu.Lock()
	text, ok := p.texts[number]
	p.mu.Unlock()
	if !ok || at < 0 || at >= len(text) || !utf8.RuneStart(text[at]) {
		return Answer{}, fmt.Errorf("cursor %q is not known any more: ask the question again", cursor)
	}
	return page(text, number, at), nil
}

// page returns the lines of text from at on that fit a page.
func page(text string, number, at int) Answer {
	rest := text[at:]
	if len(rest) <= PageBytes {
		return Answer{Text: rest}
	}
	n := strings.LastIndexByte(rest[:PageBytes], '\n') + 1
	if n == 0 { // a single line exceeds a page
		n = PageBytes
		for n > 0 && !utf8.RuneStart(rest[n]) {
			n--
		}
	}
	return Answer{Text: rest[:n], Next: fmt.Sprintf("%d:%d", number, at+n)}
}
