package store

import (
	"path"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// RegionsExt ends the name of the regions that a killed torch rank leaves. They are worth less than
// the trace that the rank may have finished just before.
const RegionsExt = "regions.json"

// Work returns the artifact that shows most of a rank's work: its recording, else its trace, else
// another trace such as that of a server's front end, else its regions. ok is false if it has none
// of these.
func Work(list []protocol.Artifact) (best protocol.Artifact, ok bool) {
	most := 0
	for _, a := range list {
		if n := worth(a); n > most {
			best, most = a, n
		}
	}
	return best, most > 0
}

func worth(a protocol.Artifact) int {
	base := path.Base(a.Name)
	switch {
	case a.Kind == protocol.KindRecording:
		return 4
	case a.Kind != protocol.KindTrace:
		return 0
	case strings.HasSuffix(base, RegionsExt):
		return 1
	case strings.HasPrefix(base, string(protocol.KindTrace)+"_"):
		return 3
	}
	return 2
}
