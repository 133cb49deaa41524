package view

import (
	"cmp"
	"net/http"

	"github.com/kinetoscope/kinetoscope/timeline"
)

// The endpoints of the report's sections. Each answer is computed when it is first asked for, and
// kept with the timeline.

func derived(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return list(w, tl.Derived())
}

func overview(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return writeJSON(w, tl.Overview())
}

func stepTimes(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return list(w, tl.StepTimes())
}

// ofTrace reads which trace is asked for.
func ofTrace(r *http.Request) (int, error) {
	i, err := integer(r.URL.Query(), "trace", 0)
	if err == nil && i < -1 {
		err = refuse(404, "trace %d: not found: they are counted from 0, and -1 is all together", i)
	}
	return int(min(i, 1<<30)), err
}

func ops(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	i, err := ofTrace(r)
	if err != nil {
		return err
	}
	t, err := tl.Ops(i, timeline.OpsBy(cmp.Or(r.URL.Query().Get("by"), string(timeline.ByName))))
	if err != nil {
		return answered(err)
	}
	return writeJSON(w, t)
}

func flame(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	i, err := ofTrace(r)
	if err != nil {
		return err
	}
	device := false
	switch of := r.URL.Query().Get("of"); of {
	case "", "host":
	case "device":
		device = true
	default:
		return refuse(400, "of is %.40q; allowed are host and device", of)
	}
	f, err := tl.FlameOf(r.Context(), i, device)
	if err != nil {
		return answered(err)
	}
	return writeJSON(w, f)
}

func communication(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return writeJSON(w, tl.Communication())
}

func memory(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return list(w, tl.Memory())
}

func rooflines(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return list(w, tl.Rooflines())
}

func criticalPath(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	i, err := ofTrace(r)
	if err != nil {
		return err
	}
	q, err := query(r, tl, 1000)
	if err != nil {
		return err
	}
	p, err := tl.Path(i, q)
	if err != nil {
		return answered(err)
	}
	return writeJSON(w, p)
}
