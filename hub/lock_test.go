package hub

import (
	"errors"
	"os"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// A second hub on the same directory is refused while it is used, without harm to the first.
func TestDataDirHasOneHub(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	st := r.start(protocol.StartRequest{})
	_, err := Start(t.Context(), r.cfg)
	taken, ok := errors.AsType[*ErrDataDirTaken](err)
	if !ok || taken.PID != os.Getpid() {
		t.Fatalf("second hub: %v, want one that names process %d", err, os.Getpid())
	}
	if taken.Code() != protocol.CodeDataDirTaken || taken.Code().HTTPStatus() != taken.HTTPStatus() {
		t.Errorf("a directory in use has the code %s and the status %d", taken.Code(), taken.HTTPStatus())
	}
	r.work(2)
	if got := r.stop(); got.ID != st.ID || got.State != session.StateComplete {
		t.Errorf("the first hub's session is %+v", got)
	}
	if err := r.Hub.Close(); err != nil {
		t.Fatal(err)
	}
	unlock, err := LockDataDir(r.cfg.DataDir)
	if err != nil {
		t.Fatalf("after its end: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
