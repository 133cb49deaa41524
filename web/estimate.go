package web

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store/catalog"
)

// estimate says what a start with this body would take, and starts nothing.
func (s *Server) estimate(w http.ResponseWriter, r *http.Request) error {
	req, _, err := s.startRequest(w, r)
	if err != nil {
		return err
	}
	ask := catalog.Ask{Duration: cmp.Or(req.Last, req.MaxDuration, protocol.DefaultMaxDuration), MaxBytes: req.MaxBytes}
	var refs []protocol.StageRef
	for _, st := range s.api.Stages() {
		refs = append(refs, protocol.StageRef{ID: st.ID, Name: st.Name})
		if !st.Profiler || req.Stages != nil && !slices.Contains(req.Stages, st.ID) {
			continue
		}
		a := catalog.StageAsk{Name: st.Name, Ranks: max(st.Replicas, 1) * max(st.Ranks, 1)}
		if req.MaxIterations != nil {
			a.MaxIterations = *req.MaxIterations
		} else if req.Config != nil {
			a.MaxIterations = req.Config.MaxIterations
		}
		ask.Stages = append(ask.Stages, a)
	}
	if err := req.CheckStages(refs); err != nil {
		return err
	}
	cost, err := s.cfg.Catalog.Cost(ask)
	if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, cost)
	return nil
}
