package web

import (
	"fmt"
	"net/http"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// healthBody is the body of GET /health.
type healthBody struct {
	Status string        `json:"status"` // "ok", "starting", "unhealthy" or "stopping"
	Reason string        `json:"reason,omitempty"`
	Model  string        `json:"model"`
	Stages []stageHealth `json:"stages"`
}

// stageHealth is one stage of the pipeline and its ranks.
type stageHealth struct {
	ID       int                `json:"id"`
	Name     string             `json:"name"`
	Type     protocol.StageType `json:"type"`
	Output   string             `json:"output,omitempty"`
	Profiler bool               `json:"profiler"`
	Replicas int                `json:"replicas"`
	Ranks    int                `json:"ranks"` // in a replica
	// Ready counts the ranks that serve, of Replicas times Ranks. It is all of
	// them where the API does not list its ranks: an open pipeline is ready.
	Ready  int          `json:"ready_ranks"`
	Detail []rankHealth `json:"rank_details,omitempty"`
}

func (h stageHealth) all() int { return h.Replicas * h.Ranks }

type rankHealth struct {
	Replica int             `json:"replica"`
	Rank    int             `json:"rank"`
	Host    string          `json:"host"`
	PID     int             `json:"pid"`
	Engine  protocol.Engine `json:"engine"`
	Ready   bool            `json:"ready"`
}

// healthNow asks the API for its stages and ranks.
func (s *Server) healthNow() (healthBody, bool) {
	b := healthBody{Status: "ok", Model: s.api.Model(), Stages: []stageHealth{}}
	at := map[int]int{}
	for _, st := range s.api.Stages() {
		at[st.ID] = len(b.Stages)
		h := stageHealth{
			ID: st.ID, Name: st.Name, Type: st.Type, Output: st.Output, Profiler: st.Profiler,
			Replicas: max(st.Replicas, 1), Ranks: max(st.Ranks, 1),
		}
		h.Ready = h.all()
		b.Stages = append(b.Stages, h)
	}
	if rl, ok := s.api.(RankLister); ok {
		for i := range b.Stages {
			b.Stages[i].Ready = 0
		}
		for _, ri := range rl.Ranks() {
			i, ok := at[ri.Stage]
			if !ok {
				continue // another pipeline's
			}
			st := &b.Stages[i]
			st.Detail = append(st.Detail, rankHealth{ri.Replica, ri.Rank, ri.Host, ri.PID, ri.Engine, ri.Ready})
			if ri.Ready {
				st.Ready++
			}
		}
	}
	ready := true
	if len(b.Stages) == 0 {
		b.Reason = "no process has attached"
	}
	for _, st := range b.Stages {
		if st.Ready < st.all() {
			b.Status, ready = "starting", false
			b.Reason = fmt.Sprintf("stage %d (%s): %d of %d ranks ready", st.ID, st.Name, st.Ready, st.all())
		}
	}
	if h, ok := s.api.(Healther); ok {
		if err := h.Health(); err != nil {
			b.Status, b.Reason, ready = "unhealthy", err.Error(), false
		}
	}
	if s.draining.Load() {
		b.Status, b.Reason, ready = "stopping", "the server is shutting down", false
	}
	return b, ready
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	b, ready := s.healthNow()
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	s.writeJSON(w, status, b)
	return nil
}
