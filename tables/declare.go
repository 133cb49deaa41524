package tables

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace/table"
)

// engine is how one engine is told of a table that lies in files.
type engine struct {
	name  string
	types map[table.Type]string
	// declare makes the statements for the table t with the partitions by, all columns of text but rank.
	declare func(e *engine, t *table.Table, by []string, location string) string
}

// engines are those that have to be told; DuckDB, pyarrow and polars find out by themselves.
var engines = []engine{
	{"athena", map[table.Type]string{table.Int64: "bigint", table.Float64: "double", table.Text: "string"}, ofHive},
	{"clickhouse", map[table.Type]string{table.Int64: "Nullable(Int64)", table.Float64: "Nullable(Float64)",
		table.Text: "Nullable(String)"}, ofClickHouse},
	{"spark", map[table.Type]string{table.Int64: "BIGINT", table.Float64: "DOUBLE", table.Text: "STRING"}, ofSpark},
	{"trino", map[table.Type]string{table.Int64: "bigint", table.Float64: "double", table.Text: "varchar"}, ofTrino},
}

// Engines returns the names of the engines that Declare knows.
func Engines() (names []string) {
	for i := range engines {
		names = append(names, engines[i].name)
	}
	return names
}

// Declare returns the statements, in the dialect of an engine, that make the tables of the directory of tables or
// bucket of runs at path known to it. The engine finds their files at location, a directory on a disk or in an object
// store, which may be another one than path.
func Declare(engine, path, location string) (string, error) {
	at := slices.Index(Engines(), engine)
	if at < 0 {
		return "", fmt.Errorf("no engine %q: there are %v", engine, Engines())
	}
	parts, err := fs.Glob(os.DirFS(path), "*/"+runKey+"*")
	if err != nil {
		return "", fmt.Errorf("look for runs: %w", err)
	}
	var b strings.Builder
	for _, t := range Schema() {
		var by []string
		if len(parts) > 0 {
			by = partitionsOf(t.Name)
		}
		t.Columns = slices.DeleteFunc(slices.Clone(t.Columns),
			func(c table.Column) bool { return slices.Contains(by, c.Name) })
		b.WriteString(engines[at].declare(&engines[at], &t, by, strings.TrimSuffix(location, "/")+"/"+t.Name))
	}
	return b.String(), nil
}

// partitionsOf returns the columns by which a table of a bucket is partitioned.
func partitionsOf(name string) []string {
	if slices.ContainsFunc(Makers(), func(m Maker) bool { return m.Name == name }) {
		return rankPartitions
	}
	return rankPartitions[:1]
}

// typeOf is the type of the partition column with this name.
func typeOf(partition string) table.Type {
	if partition == "rank" {
		return table.Int64
	}
	return table.Text
}

// columns lists the columns of t, quoted with q, and those of its partitions that are to stand among them.
func (e *engine) columns(t *table.Table, by []string, q string) string {
	var list []string
	for i := range t.Columns {
		list = append(list, q+t.Columns[i].Name+q+" "+e.types[t.Columns[i].Type])
	}
	for _, name := range by {
		list = append(list, q+name+q+" "+e.types[typeOf(name)])
	}
	return strings.Join(list, ", ")
}

// text is s as a text of SQL.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func ofTrino(e *engine, t *table.Table, by []string, location string) string {
	partitioned, sync := "", ""
	if by != nil {
		partitioned = ", partitioned_by = ARRAY['" + strings.Join(by, "', '") + "']"
		sync = "CALL system.sync_partition_metadata(CURRENT_SCHEMA, " + text(t.Name) + ", 'FULL');\n"
	}
	return fmt.Sprintf("CREATE TABLE %s (%s) WITH (format = 'PARQUET', external_location = %s%s);\n%s",
		t.Name, e.columns(t, by, `"`), text(location), partitioned, sync)
}

func ofSpark(e *engine, t *table.Table, by []string, location string) string {
	partitioned, sync := "", ""
	if by != nil {
		partitioned = " PARTITIONED BY (" + strings.Join(by, ", ") + ")"
		sync = "MSCK REPAIR TABLE " + t.Name + ";\n"
	}
	return fmt.Sprintf("CREATE TABLE %s (%s) USING parquet%s LOCATION %s;\n%s",
		t.Name, e.columns(t, by, "`"), partitioned, text(location), sync)
}

func ofHive(e *engine, t *table.Table, by []string, location string) string {
	partitioned, sync := "", ""
	if by != nil {
		partitioned = " PARTITIONED BY (" + e.columns(&table.Table{}, by, "`") + ")"
		sync = "MSCK REPAIR TABLE " + t.Name + ";\n"
	}
	return fmt.Sprintf("CREATE EXTERNAL TABLE %s (%s)%s STORED AS PARQUET LOCATION %s;\n%s",
		t.Name, e.columns(t, nil, "`"), partitioned, text(location+"/"), sync)
}

// ofClickHouse makes a view, for ClickHouse takes the type of a partition from the first it meets, and its value as
// the path has it: without a place for NULL, and escaped.
func ofClickHouse(e *engine, t *table.Table, by []string, location string) string {
	shown, columns, files := "*", e.columns(t, nil, "`"), location+"/*.parquet"
	if by != nil {
		shown = "* EXCEPT (" + strings.Join(by, ", ") + ")"
		files = location + "/" + strings.Join(by, "=*/") + "=*/*.parquet"
	}
	for _, name := range by {
		columns += ", `" + name + "` String"
		value := "decodeURLComponent(" + name + ")"
		if typeOf(name) == table.Int64 {
			value = "toInt64OrNull(" + name + ")"
		} else if name != "run" {
			value = "nullIf(" + value + ", " + text(hiveNull) + ")"
		}
		shown += ", " + value + " AS " + name
	}
	from := "file"
	if strings.Contains(location, "://") {
		from = "s3"
	}
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s AS SELECT %s FROM %s(%s, 'Parquet', %s);\n",
		t.Name, shown, from, text(files), text(columns))
}
