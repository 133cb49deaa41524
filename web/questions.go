package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/kinetoscope/kinetoscope/hub/work"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// Asker has questions answered on nodes; a *work.Desk is one.
type Asker interface {
	Ask(ctx context.Context, q work.Question, each func(work.Part) error) error
}

// maxPlaces bounds the places of a question: a thousand nodes.
const maxPlaces = 1024

// question has a question answered and passes the parts on as they come.
func (s *Server) question(w http.ResponseWriter, r *http.Request) error {
	data, err := s.readBody(w, r, MaxProfileBody)
	if err != nil {
		return err
	}
	var body api.Question
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return openai.Invalid("", "the body is no question: %v", err)
	}
	if n := len(body.At); n == 0 || n > maxPlaces {
		return openai.Invalid("at", "at: %d places, want 1 to %d", n, maxPlaces)
	}
	q := work.Question{Body: body.Body}
	for _, p := range body.At {
		if len(p.Paths) == 0 {
			p.Paths = []string{""}
		}
		q.At = append(q.At, work.Place{Node: p.Node, Paths: p.Paths})
	}
	out := &lines{w: w, c: http.NewResponseController(w)}
	err = s.cfg.Asker.Ask(r.Context(), q, func(p work.Part) error {
		return out.write(api.QuestionPart{Place: p.Place, Files: p.Files, Left: p.Left, Index: p.Index, Data: p.Data})
	})
	switch {
	case err == nil:
		return out.write(api.QuestionPart{Done: true})
	case !out.begun || r.Context().Err() != nil:
		return err
	}
	refused := errorBody(asError(err), err)
	return out.write(api.QuestionPart{Error: &refused})
}

// lines writes a JSON object a line to a client, each at once.
type lines struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	begun bool
}

func (l *lines) write(v any) error {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := l.w.Write(append(neutral.JSON(data), '\n')); err != nil { // names in it are shown in terminals too
		return err
	}
	return l.c.Flush()
}
