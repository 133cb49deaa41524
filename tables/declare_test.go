package tables

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
)

func TestDeclare(t *testing.T) {
	bucket, flat := filepath.Join(t.TempDir(), "bucket"), filepath.Join(t.TempDir(), "flat")
	if err := addRun(t, bucket, "one", false); err != nil {
		t.Fatal(err)
	}
	d, err := Create(flat)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Add(t.Context(), 0, RankOf(analysis.NewSubject(sample()), "x"), 1); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for engine, want := range map[string][]string{ // the ends of the statements for ranks, of a bucket and without runs
		"athena": {"STORED AS PARQUET LOCATION 's3://it''s/b/ranks/'", "PARTITIONED BY (`run` string)"},
		"clickhouse": {"FROM s3('s3://it''s/b/ranks/", "run=*/*.parquet', 'Parquet', '`trace` Nullable(String)",
			"decodeURLComponent(run) AS run"},
		"spark": {"`verdict` STRING", "LOCATION 's3://it''s/b/ranks'", "PARTITIONED BY (run)"},
		"trino": {"external_location = 's3://it''s/b/ranks'", "partitioned_by = ARRAY['run']", `"run" varchar)`},
	} {
		got, err := Declare(engine, bucket, "s3://it's/b/")
		if err != nil {
			t.Fatal(err)
		}
		alone, err := Declare(engine, flat, "/here")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range Names() {
			if !strings.Contains(got, " "+name+" ") || !strings.Contains(alone, "/here/"+name) {
				t.Errorf("%s: table %s is missing", engine, name)
			}
		}
		at := slices.IndexFunc(strings.Split(got, "\n"), func(s string) bool { return strings.Contains(s, " ranks ") })
		ranks := strings.Split(got, "\n")[at]
		for _, s := range want {
			if !strings.Contains(ranks, s) {
				t.Errorf("%s: %q is not in %s", engine, s, ranks)
			}
		}
		for _, s := range []string{"run", "MSCK", "CALL"} {
			if strings.Contains(alone, s) {
				t.Errorf("%s: of a directory without runs, with %q: %s", engine, s, alone)
			}
		}
	}
	if _, err := Declare("oracle", flat, "/here"); err == nil || !strings.Contains(err.Error(), "trino") {
		t.Errorf("an engine that is not known: %v", err)
	}
}
