package sql

import (
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                       nil,
		" ; -- nothing\n;":                       nil,
		"select 1":                               {"select 1"},
		"select 1;":                              {"select 1"},
		"select 1; select 2 ;;":                  {"select 1", "select 2"},
		"select ';' as a; select \"x;y\" from t": {"select ';' as a", "select \"x;y\" from t"},
		"select 'it''s; so' ; select 2":          {"select 'it''s; so'", "select 2"},
		"select 1 -- one; or two\n, 2; select 3": {"select 1 -- one; or two\n, 2", "select 3"},
		"/* a; b */ select 1; /* only; this */":  {"/* a; b */ select 1"},
		"select $$a;b$$; select $x$ ; $$ ; $x$":  {"select $$a;b$$", "select $x$ ; $$ ; $x$"},
		"select 'open; select 2":                 {"select 'open; select 2"},
		"select $x$ open; select 2":              {"select $x$ open; select 2"},
		"select /* open; select 2":               {"select /* open; select 2"},
		"create table t as select 1; from t":     {"create table t as select 1", "from t"},
	} {
		if got := Split(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q", text, got)
		}
	}
}
