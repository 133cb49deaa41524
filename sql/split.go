package sql

import (
	"regexp"
	"strings"
)

// apart is what may hold a ";" that ends no question: texts, names, comments and $tag$ texts $tag$.
var apart = regexp.MustCompile(`(?s)'[^']*'?|"[^"]*"?|--[^\n]*|/\*.*?(?:\*/|$)|\$(?:[A-Za-z_]\w*)?\$|;`)

// Split parts text into its questions, which ";" ends; those without content are left out.
func Split(text string) (questions []string) {
	var from, at int
	empty := true // nothing but comments since from
	end := func(to int) {
		if !empty {
			questions = append(questions, strings.TrimSpace(text[from:to]))
		}
		empty = true
	}
	for at < len(text) {
		m := apart.FindStringIndex(text[at:])
		if m == nil {
			break
		}
		found := text[at+m[0] : at+m[1]]
		empty = empty && strings.TrimSpace(text[at:at+m[0]]) == ""
		at += m[1]
		switch {
		case found == ";":
			end(at - 1)
			from = at
			continue
		case strings.HasPrefix(found, "--"), strings.HasPrefix(found, "/*"):
			continue
		case found[0] == '$':
			if n := strings.Index(text[at:], found); n >= 0 {
				at += n + len(found)
			} else {
				at = len(text)
			}
		}
		empty = false
	}
	empty = empty && strings.TrimSpace(text[at:]) == ""
	end(len(text))
	return questions
}
