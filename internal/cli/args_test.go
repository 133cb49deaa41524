package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// grammar has what PositionalsLast has to know of a verb: flags with and without values, a
// verb below a verb.
type grammar struct {
	Ops struct {
		Paths []string `arg:""`
		JSON  bool     `name:"json"`
		CSV   bool     `name:"csv"`
		Rank  []int
		Stage string
	} `cmd:""`
	Skill struct {
		Install struct{ Dir string } `cmd:""`
	} `cmd:""`
	Verbose bool `short:"v"`
}

func TestPositionalsLast(t *testing.T) {
	parser, err := kong.New(new(grammar))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"ops a --json b":             "ops --json a b",
		"ops a --rank 3 b --stage=x": "ops --rank 3 --stage=x a b",
		"-v ops - --csv":             "-v ops --csv -",
		"ops a --bogus b":            "ops --bogus a b",
		"bogus a --json":             "bogus a --json",
		"ops a --rank":               "ops --rank a",
		"skill install --dir x":      "skill install --dir x",
		"--help":                     "--help",
	} {
		if got := PositionalsLast(parser, strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %v, want %s", in, got, want)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	rest, dotted, command,
		err := SplitArgs(strings.Fields("capture --profiler-config.a=1 x --profiler-config.b 2 -- prog --json"))
	if err != nil || !slices.Equal(rest, []string{"capture", "x"}) || dotted["a"] != "1" || dotted["b"] != "2" ||
		!slices.Equal(command, []string{"prog", "--json"}) {
		t.Errorf("%v, %v, %v, %v", rest, dotted, command, err)
	}
	if _, _, command, _ := SplitArgs([]string{"capture", "--"}); command == nil {
		t.Error("an empty command is not told from none")
	}
	if _, _, _, err := SplitArgs([]string{"--profiler-config.a"}); err == nil {
		t.Error("a field without a value was taken")
	}
}
