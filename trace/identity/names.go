package identity

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Names are what traces are called that are written into one file, each by a name of its own: a reader puts the
// processes of one name together as one rank. Where several would have one name, as the ranks of two servers
// have, what tells them apart in Labels becomes a part of the stage's name or the role: "server1 rank 0". files are
// what readers know the traces by.
func Names(list []*trace.Meta, files []string) []string {
	labels := Labels(list, files)
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = cmp.Or(Name(m), labels[i])
	}
	for n := range 2 { // their labels tell almost all apart, their numbers what is left
		count := map[string]int{}
		for _, name := range out {
			count[name]++
		}
		for i, m := range list {
			if count[out[i]] < 2 || Name(m) == "" {
				continue
			}
			more := strings.TrimPrefix(labels[i], short(m, list))
			if n > 0 {
				more += "." + strconv.Itoa(i+1)
			}
			out[i] = apart(*m, more)
		}
	}
	return out
}

var notInName = regexp.MustCompile(`[^\w.-]+`)

// apart is the name of a trace with more in its stage's name or role. A stage's name begins with a letter.
func apart(m trace.Meta, more string) string {
	more = strings.Trim(notInName.ReplaceAllString(more, "."), ".")
	where := &m.Stage
	if m.Role != "" {
		where = &m.Role
	}
	switch {
	case more == "":
	case *where != "":
		*where += "." + more
	case more[0] >= '0' && more[0] <= '9' || more[0] == '_' || more[0] == '-':
		*where = "in." + more
	default:
		*where = more
	}
	return Name(&m)
}
