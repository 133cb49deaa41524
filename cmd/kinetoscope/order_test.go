package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestPositionalsLast(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, append(analysisVerbs(), kong.Vars{"builtins": ""})...)
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
		if got := positionalsLast(parser, strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %v, want %s", in, got, want)
		}
	}
}
