package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Verb returns the first of args that is no flag, which names the verb, "" if there is none.
func Verb(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

// PositionalsLast returns args with a verb's positional arguments behind its flags, so that
// flags may stand anywhere: the parser takes a list of positionals only in one piece.
// Arguments that fit no verb or no flag are left for the parser to refuse.
func PositionalsLast(parser *kong.Kong, args []string) []string {
	var verb *kong.Node
	var front, positional []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "-" || !strings.HasPrefix(a, "-") {
			if verb == nil {
				if verb = verbNamed(parser.Model.Node, a); verb == nil {
					return args
				}
				front = append(front, a)
				continue
			}
			if sub := verbNamed(verb, a); sub != nil && len(positional) == 0 {
				verb = sub
				front = append(front, a)
				continue
			}
			positional = append(positional, a)
			continue
		}
		front = append(front, a)
		if !strings.Contains(a, "=") && takesValue(parser, verb, a) && i+1 < len(args) {
			i++
			front = append(front, args[i])
		}
	}
	return append(front, positional...)
}

// verbNamed returns the verb under node with this name, nil if there is none.
func verbNamed(node *kong.Node, name string) *kong.Node {
	for _, n := range node.Children {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// TakesArguments reports whether the verb of this name takes arguments that are no flags.
func TakesArguments(parser *kong.Kong, verb string) bool {
	n := verbNamed(parser.Model.Node, verb)
	return n == nil || len(n.Positional) > 0 || len(n.Children) > 0
}

// takesValue reports whether the flag a, as typed, is followed by its value.
func takesValue(parser *kong.Kong, verb *kong.Node, a string) bool {
	flags := parser.Model.Flags
	if verb != nil {
		flags = append(flags[:len(flags):len(flags)], verb.Flags...)
	}
	for _, f := range flags {
		if a == "--"+f.Name || f.Short != 0 && a == "-"+string(f.Short) {
			return !f.IsBool() && !f.IsCounter()
		}
	}
	return false
}

const dottedPrefix = "--profiler-config."

// SplitArgs takes the dotted flags and the command after -- out of args, because a flag parser
// knows neither.
func SplitArgs(args []string) (rest []string, dotted map[string]string, command []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return rest, dotted, append([]string{}, args[i+1:]...), nil
		}
		if !strings.HasPrefix(a, dottedPrefix) {
			rest = append(rest, a)
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(a, dottedPrefix), "=")
		if !ok {
			if i+1 >= len(args) {
				return nil, nil, nil, fmt.Errorf("%s needs a value", a)
			}
			i++
			value = args[i]
		}
		if dotted == nil {
			dotted = map[string]string{}
		}
		dotted[name] = value
	}
	return rest, dotted, nil, nil
}
