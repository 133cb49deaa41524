package hub

import (
	"testing"
	"testing/synctest"

	"github.com/kinetoscope/kinetoscope/session"
)

// A rank may leave the moment it is told that its files are home: the session knows of them
// by then.
func TestFilesAreHomeBeforeTheirRankIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &runner{actx: t.Context(), events: make(chan session.Event)}
		told := false
		go r.home(session.Collected{}, func() { told = true })
		synctest.Wait()
		if told {
			t.Error("the rank was told before the session was")
		}
		if _, ok := (<-r.events).(session.Collected); !ok {
			t.Error("the session heard something else")
		}
		synctest.Wait()
		if !told {
			t.Error("the rank was not told")
		}
	})
}
