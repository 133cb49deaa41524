package sqlite

import "strings"

// parseTable returns the columns that a CREATE TABLE statement declares, and which of them
// is another name of the rowid, -1 if none is. ok is false for what is not a rowid table.
func parseTable(statement string) (columns []string, rowid int, ok bool) {
	tokens := tokenize(statement)
	open := 0
	for open < len(tokens) && tokens[open].text != "(" {
		open++
	}
	if open == len(tokens) || !tokens[0].is("CREATE") {
		return nil, -1, false
	}
	rowid = -1
	integer := map[string]int{} // columns of type INTEGER, by lower-case name
	depth := 0
	var definition []token
	end := open
	for ; end < len(tokens); end++ {
		t := tokens[end]
		switch {
		case t.text == "(" && !t.quoted:
			if depth++; depth == 1 {
				continue
			}
		case t.text == ")" && !t.quoted:
			depth--
		}
		if depth == 0 || depth == 1 && t.text == "," && !t.quoted {
			columns, rowid = define(columns, rowid, integer, definition)
			definition = definition[:0]
			if depth == 0 {
				break
			}
			continue
		}
		definition = append(definition, t)
	}
	for _, t := range tokens[min(end+1, len(tokens)):] {
		if t.is("WITHOUT") {
			return nil, -1, false // its rows lie in an index
		}
	}
	return columns, rowid, depth == 0 && len(columns) > 0 && len(columns) <= maxColumns
}

// define adds the column, or the constraint of the table, that a definition is.
func define(columns []string, rowid int, integer map[string]int, d []token) ([]string, int) {
	if len(d) == 0 {
		return columns, rowid
	}
	if !d[0].quoted {
		switch strings.ToUpper(d[0].text) {
		case "CONSTRAINT", "UNIQUE", "CHECK", "FOREIGN", "PRIMARY":
			return columns, keyOf(rowid, integer, d)
		}
	}
	name := d[0].text
	if len(d) > 1 && d[1].is("INTEGER") && (len(d) == 2 || d[2].text != "(") {
		integer[strings.ToLower(name)] = len(columns)
		for i := 2; i+1 < len(d); i++ {
			// By an old mistake of SQLite, INTEGER PRIMARY KEY DESC is not another name of the
			// rowid.
			if d[i].is("PRIMARY") && d[i+1].is("KEY") && (i+2 >= len(d) || !d[i+2].is("DESC")) {
				rowid = len(columns)
			}
		}
	}
	return append(columns, name), rowid
}

// keyOf returns the rowid's column if a table's constraint is PRIMARY KEY of one INTEGER.
func keyOf(rowid int, integer map[string]int, d []token) int {
	for i := 0; i+4 < len(d); i++ {
		if d[i].is("PRIMARY") && d[i+1].is("KEY") && d[i+2].text == "(" && d[i+4].text == ")" {
			if column, ok := integer[strings.ToLower(d[i+3].text)]; ok {
				return column
			}
		}
	}
	return rowid
}

// token is a word, a quoted name or text without its quotes, or a sign.
type token struct {
	text   string
	quoted bool
}

func (t token) is(word string) bool { return !t.quoted && strings.EqualFold(t.text, word) }

// tokenize parts a statement into tokens; comments are left out.
func tokenize(s string) (tokens []token) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
			i++
		case strings.HasPrefix(s[i:], "--"):
			if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(s)
			}
		case strings.HasPrefix(s[i:], "/*"):
			if n := strings.Index(s[i+2:], "*/"); n >= 0 {
				i += n + 4
			} else {
				i = len(s)
			}
		case c == '"' || c == '\'' || c == '`' || c == '[':
			text, n := quoted(s[i:])
			tokens = append(tokens, token{text, true})
			i += n
		case wordByte(c):
			n := 1
			for i+n < len(s) && wordByte(s[i+n]) {
				n++
			}
			tokens = append(tokens, token{s[i : i+n], false})
			i += n
		default:
			tokens = append(tokens, token{s[i : i+1], false})
			i++
		}
	}
	return tokens
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c|32 >= 'a' && c|32 <= 'z'
}

// quoted returns the text in quotes at the beginning of s and its length with them; a
// doubled quote stands for one.
func quoted(s string) (string, int) {
	end := s[0]
	if end == '[' {
		end = ']'
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != end {
			b.WriteByte(s[i])
			continue
		}
		if end == ']' || i+1 >= len(s) || s[i+1] != end {
			return b.String(), i + 1
		}
		b.WriteByte(end)
		i++
	}
	return b.String(), len(s)
}
