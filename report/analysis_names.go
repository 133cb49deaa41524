package report

import "strings"

// KernelName shortens the name of a C++ kernel to what tells it from others: return
// type, parameters and namespaces go, template arguments stay, as they say which
// operation an element-wise kernel does. Other names stay as they are.
func KernelName(s string) string {
	if !strings.ContainsAny(s, "<(") {
		return s
	}
	s = strings.TrimPrefix(s, "void ")
	s = strings.ReplaceAll(s, "(anonymous namespace)::", "")
	if i := parameters(s); i > 0 {
		s = s[:i]
	}
	return strings.TrimSpace(unqualified(s))
}

// parameters returns where the last bracket outside of template arguments opens, or -1.
func parameters(s string) int {
	depth, at := 0, -1
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '<':
			depth++
		case '>':
			depth--
		case '(':
			if depth == 0 && at < 0 {
				at = i
			}
		}
	}
	if depth != 0 || !strings.HasSuffix(strings.TrimSpace(s), ")") {
		return -1 // an operator< or a name that was cut
	}
	return at
}

// unqualified takes namespaces off every identifier.
func unqualified(s string) string {
	var b strings.Builder
	start := 0 // of the identifier that is being read
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == ':' && i+1 < len(s) && s[i+1] == ':':
			i++
			start = i + 1
		case !identifier(s[i]):
			b.WriteString(s[start : i+1])
			start = i + 1
		}
	}
	b.WriteString(s[start:])
	return b.String()
}

func identifier(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
