package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

// JSON writes r as report.json, indented. docs/report.md describes it.
func JSON(w io.Writer, r *pipeline.Report) error {
	e := json.NewEncoder(JSONWriter(w))
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write report.json: %w", err)
	}
	return nil
}

// HeldMemoryJSON writes t as memory_timeline.json, on one line. docs/artifacts.md
// describes it.
func HeldMemoryJSON(w io.Writer, t *analysis.MemoryTimeline) error {
	e := json.NewEncoder(JSONWriter(w))
	e.SetEscapeHTML(false)
	if err := e.Encode(t); err != nil {
		return fmt.Errorf("write memory timeline: %w", err)
	}
	return nil
}

// VersionError is a report of a version that this program does not read.
type VersionError struct{ Version int }

// Error names both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("read report.json: schema_version %d, this program reads %d", e.Version, pipeline.SchemaVersion)
}

// ReadJSON reads what JSON wrote. It refuses a report of another schema version with a
// *VersionError.
func ReadJSON(rd io.Reader) (*pipeline.Report, error) {
	var r pipeline.Report
	if err := json.NewDecoder(rd).Decode(&r); err != nil {
		return nil, fmt.Errorf("read report.json: %w", err)
	}
	if r.SchemaVersion != pipeline.SchemaVersion {
		return nil, &VersionError{r.SchemaVersion}
	}
	return &r, nil
}
