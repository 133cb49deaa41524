package web

import (
	"fmt"
	"net/http"

	"github.com/kinetoscope/kinetoscope/web/api"
)

// healthNow asks the API for its stages and ranks; false means that the pipeline does not serve.
func (s *Server) healthNow() (api.Health, bool) {
	b := api.Health{Status: api.HealthOK, Model: s.api.Model(), Stages: []api.StageHealth{}}
	at := map[int]int{}
	for _, st := range s.api.Stages() {
		at[st.ID] = len(b.Stages)
		h := api.StageHealth{
			ID: st.ID, Name: st.Name, Type: st.Type, Output: st.Output, Profiler: st.Profiler,
			Replicas: max(st.Replicas, 1), Ranks: max(st.Ranks, 1),
		}
		h.Ready = h.All()
		b.Stages = append(b.Stages, h)
	}
	if rl, ok := s.api.(RankLister); ok {
		for i := range b.Stages {
			b.Stages[i].Ready = 0
		}
		for _, ri := range rl.Ranks() {
			i, ok := at[ri.Stage]
			if !ok {
				continue // a rank of another pipeline
			}
			st := &b.Stages[i]
			st.Detail = append(
				st.Detail,
				api.RankHealth{Replica: ri.Replica, Rank: ri.Rank, Host: ri.Host, PID: ri.PID, Engine: ri.Engine,
					Ready: ri.Ready},
			)
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
		if st.Ready < st.All() {
			b.Status, ready = api.HealthStarting, false
			b.Reason = fmt.Sprintf("stage %d (%s): %d of %d ranks ready", st.ID, st.Name, st.Ready, st.All())
		}
	}
	if h, ok := s.api.(Healther); ok {
		if err := h.Health(); err != nil {
			b.Status, b.Reason, ready = api.HealthUnhealthy, err.Error(), false
		}
	}
	if s.draining.Load() {
		b.Status, b.Reason, ready = api.HealthStopping, "the server is shutting down", false
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
