package web

import (
	"net/http"
)

// healthBody is the body of GET /health.
type healthBody struct {
	Status string        `json:"status"` // "ok", "starting" or "stopping"
	Model  string        `json:"model"`
	Stages []stageHealth `json:"stages"`
}

// stageHealth is one stage of the pipeline and its ranks.
type stageHealth struct {
	ID       int    `json:"stage"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Output   string `json:"output,omitempty"`
	Profiler bool   `json:"profiler"`
	// Ranks is replicas times ranks in a replica; Ready counts those that
	// serve, and equals Ranks where the API does not list its ranks: an open
	// pipeline is ready.
	Ranks  int          `json:"ranks"`
	Ready  int          `json:"ready"`
	Detail []rankHealth `json:"rank_details,omitempty"`
}

type rankHealth struct {
	Replica int    `json:"replica"`
	Rank    int    `json:"rank"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Engine  string `json:"engine"`
	Ready   bool   `json:"ready"`
}

// healthNow asks the API for its stages and ranks.
func (s *Server) healthNow() (healthBody, bool) {
	b := healthBody{Status: "ok", Model: s.api.Model(), Stages: []stageHealth{}}
	at := map[int]int{}
	for _, st := range s.api.Stages() {
		at[st.ID] = len(b.Stages)
		n := max(st.Replicas, 1) * max(st.Ranks, 1)
		b.Stages = append(b.Stages, stageHealth{
			ID: st.ID, Name: st.Name, Type: st.Type, Output: st.Output, Profiler: st.Profiler, Ranks: n, Ready: n,
		})
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
	ready := len(b.Stages) > 0
	for _, st := range b.Stages {
		ready = ready && st.Ready >= st.Ranks
	}
	switch {
	case s.draining.Load():
		b.Status, ready = "stopping", false
	case !ready:
		b.Status = "starting"
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
