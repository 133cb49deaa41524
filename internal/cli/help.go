package cli

import (
	"errors"
	"io"

	"github.com/alecthomas/kong"
)

// Help says how the user came to the help text.
type Help int

// The ways to the help text, the flag --help aside.
const (
	NoHelp    Help = iota // arguments of a verb
	HelpAsked             // the word help
	HelpGiven             // nothing was typed, so that the text is a hint and no answer
)

// AskedForHelp turns "help VERB…" and an empty command line into the flag --help.
func AskedForHelp(args []string) ([]string, Help) {
	switch {
	case len(args) == 0:
		return []string{"--help"}, HelpGiven
	case args[0] == "help":
		return append(args[1:len(args):len(args)], "--help"), HelpAsked
	}
	return args, NoHelp
}

// Stream is where the text goes: to Out, unless nobody asked for it.
func (h Help) Stream(s Streams) io.Writer {
	if h == HelpGiven {
		return s.Err
	}
	return s.Out
}

// Code is the exit code of a program that ended with code after the text.
func (h Help) Code(code int) int {
	if h == HelpGiven {
		return ExitUsage
	}
	return code
}

// WhereHelpIs says what to type to learn what was wrong with the arguments that err is about.
func WhereHelpIs(err error) string {
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		if verb := p.Context.Selected(); verb != nil {
			return "kinetoscope " + verb.Path() + " --help says what it takes"
		}
	}
	return "kinetoscope --help lists the verbs"
}
