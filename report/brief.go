package report

import (
	"fmt"
	"html"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/units"
)

// briefBytes bounds a Brief: it is for readers who pay for every word, such as agents, and a page of
// 4 KiB is what they ask for.
const briefBytes = 4 << 10

// maxNext bounds the commands that a Brief suggests.
const maxNext = 5

// Brief is what stands out, in at most 4 KiB: the findings, each with the command that shows the slice
// behind it, what the answer does not cover, and which questions to ask next.
type Brief struct {
	Title, Note string
	Lines       []string // sentences that come before the findings
	Findings    []BriefFinding
	NotCovered  []string // files and ranks that the answer lacks, with the reasons
	Paths       []string // what was asked about, as it was given
}

// BriefFinding is a finding and where it is.
type BriefFinding struct {
	finding.Finding
	Where string // in words
	Path  string // of the file whose trace the slice is in; "" if that is not known
	ID    string // of the slice as kinetoscope view takes it; "" if there is none
}

// PipelineBrief returns a pipeline's findings and what they are of. Its Paths, and where the slices
// behind the findings are, are for the caller to fill in.
func PipelineBrief(r *pipeline.Report) *Brief {
	names, facts := about(r)
	b := &Brief{Title: "Pipeline " + strings.Join(names, " → "), Note: strings.Join(facts, ", ")}
	for _, f := range r.Findings {
		b.Findings = append(b.Findings, BriefFinding{Finding: f.Finding, Where: f.Where})
	}
	return b
}

// Look is the command that shows the slice on the timeline, "" if there is none.
func (f *BriefFinding) Look() string {
	if f.ID == "" || f.Path == "" {
		return ""
	}
	return Command("view", []string{f.Path}, "--at", f.ID)
}

// Next are the commands that say more of the findings, most useful first: the causes of the first, the
// verbs that its kind and those of the others belong to, and the slice behind the first that has one.
func (b *Brief) Next() []string {
	var out []string
	add := func(command string) {
		if command != "" && len(out) < maxNext && !slices.Contains(out, command) {
			out = append(out, command)
		}
	}
	for i := range b.Findings {
		f := &b.Findings[i]
		if i == 0 && f.Code != "" && f.Code.Unit() != "" {
			add(Command("explain", []string{string(f.Code)}))
		}
		if i == 0 {
			add(f.Look())
		}
		if verb := f.Code.Verb(); verb == "inspect" {
			add(b.ask(verb))
		} else if verb != "" {
			add(b.ask(verb, "--top", "10"))
		}
	}
	add(b.ask("report"))
	return out
}

// maxPaths bounds the bytes of the paths in a suggested command.
const maxPaths = 300

// ask is a command about what the Brief is about. PATHS stands for paths that would fill the page.
func (b *Brief) ask(verb string, flags ...string) string {
	if len(strings.Join(b.Paths, " ")) > maxPaths {
		return Command(verb, []string{"PATHS"}, flags...)
	}
	return Command(verb, b.Paths, flags...)
}

// Text writes the Brief as text. What does not fit is counted.
func (b *Brief) Text(w io.Writer) error { return b.write(w, (*Brief).text) }

// Markdown writes the Brief as a report to be saved: the question, the answer, the numbers with the
// commands that show what is behind them, and what was not covered.
func (b *Brief) Markdown(w io.Writer, question string) error {
	return b.write(w, func(b *Brief, n int) string { return b.markdown(question, n) })
}

// write writes as many findings as fit. If even one does not fit, whole lines of the end are left out, and
// that is said.
func (b *Brief) write(w io.Writer, form func(b *Brief, findings int) string) error {
	n := len(b.Findings)
	out := form(b, n)
	for ; len(out) > briefBytes && n > 1; n-- {
		out = form(b, n-1)
	}
	const rest = "… the rest does not fit\n"
	if len(out) > briefBytes {
		out = out[:briefBytes-len(rest)]
		out = out[:strings.LastIndexByte(out, '\n')+1] + rest
	}
	if _, err := io.WriteString(w, out); err != nil {
		return fmt.Errorf("write brief: %w", err)
	}
	return nil
}

func (b *Brief) text(n int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s  %s\n", said(b.Title), said(b.Note))
	for _, l := range b.Lines {
		fmt.Fprintf(&s, "%s\n", said(l))
	}
	if len(b.Findings) == 0 {
		s.WriteString("Nothing stands out.\n")
	}
	for i := range b.Findings[:n] {
		f := &b.Findings[i]
		fmt.Fprintf(&s, "%d. %s%s %s: %s\n", i+1, doubtful(f), f.Severity, f.Code, said(f.Text))
		if f.Where != "" {
			fmt.Fprintf(&s, "   at: %s\n", said(f.Where))
		}
		if look := f.Look(); look != "" {
			fmt.Fprintf(&s, "   see: %s\n", look)
		}
	}
	s.WriteString(b.left(n))
	for _, l := range b.notCovered() {
		fmt.Fprintf(&s, "not covered: %s\n", said(l))
	}
	for _, c := range b.Next() {
		fmt.Fprintf(&s, "next: %s\n", c)
	}
	return s.String()
}

// maxSentence bounds what a Brief says in one sentence, in characters: names in it are as long as others
// made them.
const maxSentence = 400

// said returns a sentence for a page: nothing that a terminal obeys, and of a bounded length.
func said(s string) string { return cut(neutral.Plain(s), maxSentence, "…") }

// doubtful marks a finding that is about the trace and not about the program.
func doubtful(f *BriefFinding) string {
	if f.Doubt {
		return "in doubt, "
	}
	return ""
}

// left says how many findings are not among the first n.
func (b *Brief) left(n int) string {
	if rest := len(b.Findings) - n; rest > 0 {
		return fmt.Sprintf("… and %s: %s\n", units.Plural(rest, "more finding"),
			b.ask("report", "--json"))
	}
	return ""
}

// maxNotCovered bounds what is named of what an answer lacks.
const maxNotCovered = 5

func (b *Brief) notCovered() []string {
	if n := len(b.NotCovered) - maxNotCovered; n > 0 {
		return append(b.NotCovered[:maxNotCovered:maxNotCovered], units.Plural(n, "more file or rank"))
	}
	return b.NotCovered
}

func (b *Brief) markdown(question string, n int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "# %s\n\n", markdown(question))
	answer := "Nothing stands out."
	if len(b.Findings) > 0 {
		answer = doubtful(&b.Findings[0]) + b.Findings[0].Text
	}
	fmt.Fprintf(&s, "%s\n\nOf %s, %s.\n", markdown(answer), markdown(b.Title), markdown(b.Note))
	for _, l := range b.Lines {
		fmt.Fprintf(&s, "%s\n", markdown(l))
	}
	if n > 0 {
		s.WriteString("\n## Numbers\n\n| severity | code | finding | shown by |\n|---|---|---|---|\n")
	}
	for i := range b.Findings[:n] {
		f := &b.Findings[i]
		look := f.Look()
		if look == "" && f.Code.Verb() != "" {
			look = b.ask(f.Code.Verb())
		}
		fmt.Fprintf(&s, "| %s%s | %s | %s | %s |\n", doubtful(f), f.Severity, markdown(string(f.Code)),
			markdown(f.Text), code(look))
	}
	s.WriteString("\n## Not covered\n\n")
	s.WriteString(b.left(n))
	for _, l := range b.notCovered() {
		fmt.Fprintf(&s, "- %s\n", markdown(l))
	}
	if len(b.NotCovered) == 0 && n == len(b.Findings) {
		s.WriteString("Nothing was left out.\n")
	}
	s.WriteString("\n## Next\n\n")
	for _, c := range b.Next() {
		fmt.Fprintf(&s, "- %s\n", code(c))
	}
	return s.String()
}

// markdown returns a text in which nothing is markup, on one line.
func markdown(s string) string {
	var out strings.Builder
	for _, r := range said(s) {
		switch {
		case strings.ContainsRune("<>&", r): // not all that show Markdown know a backslash before these
			out.WriteString(html.EscapeString(string(r)))
		case strings.ContainsRune("\\`*_{}[]()#+!|~", r):
			out.WriteString("\\" + string(r))
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// code returns a command as code in a cell of a table: within one more back-quote than it has in a row.
func code(s string) string {
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence + strings.ReplaceAll(s, "|", "\\|") + fence
}

// plainWord is a word that a POSIX shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Command is a command line of this program that a POSIX shell takes word for word: a verb, what it is
// asked about, and flags. Characters that a terminal obeys are blank in it, so that a path with such
// characters has to be given by hand.
func Command(verb string, about []string, flags ...string) string {
	words := []string{"kinetoscope", verb}
	for _, w := range about {
		if w = neutral.Plain(w); strings.HasPrefix(w, "-") && w != "-" {
			w = "./" + w // a file, not a flag
		}
		words = append(words, shellWord(w))
	}
	for _, w := range flags {
		words = append(words, shellWord(w))
	}
	return strings.Join(words, " ")
}

// shellWord returns a word that a POSIX shell takes for w.
func shellWord(w string) string {
	if plainWord.MatchString(w) {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
