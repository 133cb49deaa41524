package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// What nodes call their files is told as it is, and does nothing in the terminal of who asks.
func TestNamesInQuestionsAreText(t *testing.T) {
	const name = "a\u009b31m\u202e.json"
	rec := httptest.NewRecorder()
	l := &lines{w: rec, c: http.NewResponseController(rec)}
	if err := l.write(api.QuestionPart{Files: []string{name}}); err != nil {
		t.Fatal(err)
	}
	line, ok := strings.CutSuffix(rec.Body.String(), "\n")
	if !ok || strings.ContainsFunc(line, neutral.Command) {
		t.Errorf("a terminal obeys %q", line)
	}
	var p api.QuestionPart
	if err := json.Unmarshal([]byte(line), &p); err != nil || len(p.Files) != 1 || p.Files[0] != name {
		t.Errorf("%s: %v", line, err)
	}
}
