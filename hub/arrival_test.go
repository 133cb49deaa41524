package hub

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// A recording that is damaged where it lay does not make its rank complete, however well
// it travelled. What can be read of it is converted; the other rank is as it was.
func TestDamagedRecordingIsNotComplete(t *testing.T) {
	middle := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, tt := range map[string]struct {
		harm func(b []byte) []byte
		want string
	}{
		"a bit":      {middle, "its recording is damaged: one place is damaged"},
		"cut short":  {func(b []byte) []byte { return b[:len(b)-5] }, "its recording is damaged: it breaks off"},
		"no header":  {func(b []byte) []byte { b[12] ^= 1; return b }, "its recording cannot be read: "},
		"other file": {func([]byte) []byte { return []byte("not a recording") }, "its recording cannot be read: "},
		"empty":      {func([]byte) []byte { return nil }, "its recording cannot be read: "},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.join(2)
			r.ranks[0].harm = func(path string) {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(path, tt.harm(b), 0o600); err != nil {
					t.Error(err)
				}
			}
			r.start(protocol.StartRequest{})
			r.work(100) // some generations
			st := r.stop()
			bad, good := st.Stages[0].Ranks[0], st.Stages[0].Ranks[1]
			if bad.State != protocol.StateFailed || !strings.HasPrefix(bad.Reason, tt.want) || len(bad.Artifacts) != 2 {
				t.Errorf("damaged rank: %+v", bad)
			}
			if good.State != protocol.StateComplete || good.Reason != "" || len(good.Artifacts) != 2 {
				t.Errorf("whole rank: %+v", good)
			}
			if st.State != session.StatePartial || !strings.Contains(st.Error, bad.Reason) {
				t.Errorf("session is %s: %s", st.State, st.Error)
			}
		})
	}
}

// What could not be made of one rank's files is said there; all that was made is listed.
func TestConversionLacksOneRank(t *testing.T) {
	for name, end := range map[string]error{"goes on": nil, "breaks off": errors.New("no timeline")} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) {
				c.Convert = func(ctx context.Context, in ConvertInput) (map[protocol.RankID][]protocol.Artifact,
					[]protocol.Artifact, error) {
					in.Lacks(in.Ranks[0].Status.RankID, errors.New("its trace is unreadable"))
					in.Ranks = in.Ranks[1:]
					perRank, run, err := copyConvert(ctx, in)
					run = append(run, protocol.Artifact{Name: "gone.json", Kind: "report"})
					return perRank, run, errors.Join(err, end)
				}
			})
			r.join(2)
			r.start(protocol.StartRequest{})
			r.work(2)
			st := r.stop()
			bad, good := st.Stages[0].Ranks[0], st.Stages[0].Ranks[1]
			if bad.State != protocol.StateComplete || !strings.Contains(bad.Reason, "unreadable") ||
				len(bad.Artifacts) != 1 {
				t.Errorf("rank 0: %+v", bad)
			}
			if good.State != protocol.StateComplete || len(good.Artifacts) != 2 || len(st.Artifacts) != 1 {
				t.Errorf("rank 1: %+v; of the run: %+v", good, st.Artifacts)
			}
			if st.State != session.StatePartial || !strings.Contains(st.Error, "gone.json") {
				t.Errorf("session is %s: %s", st.State, st.Error)
			}
			r.verify(st)
		})
	}
}
