package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// LateDir is the directory, in a finished run, of files that came after its end: those of
// a rank that had been silent. A finished run's manifest is never written again, so each
// arrival has a list of its own there, which Run.Manifest reads along.
const LateDir = "late"

// lateList begins the names of these lists.
const lateList = LateDir + "/manifest_"

// maxLate bounds the arrivals of one rank after its session: it comes back once, or a few
// times if the collection is cut off.
const maxLate = 64

// late is one arrival.
type late struct {
	SchemaVersion int                 `json:"schema_version"`
	Rank          protocol.RankID     `json:"rank"`
	Artifacts     []protocol.Artifact `json:"artifacts"`
}

// FinishLate lists files in LateDir that have come from a rank after the run was finished.
// They are among the rank's artifacts from then on.
func (r *Run) FinishLate(id protocol.RankID, files []protocol.Artifact) error {
	b, err := json.MarshalIndent(late{SchemaVersion, id, files}, "", "  ")
	if err != nil {
		return fmt.Errorf("list of late files: %w", err)
	}
	for n := range maxLate {
		_, err = r.Write(lateList+id.FileBase()+"_"+strconv.Itoa(n)+".json", "manifest",
			strings.NewReader(string(b)+"\n"))
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("list of late files: %s has %d already: %w", id.Text(), maxLate, err)
}

// IsList reports whether a file of a run is one of those that say what is in it.
func IsList(name string) bool { return name == ManifestName || strings.HasPrefix(name, lateList) }

// addLate adds files that came after the run's end to the artifacts of their ranks, and notes that
// in the ranks' reasons.
func (r *Run) addLate(m *Manifest) error {
	names, err := fs.Glob(r.root.FS(), lateList+"*.json")
	if err != nil {
		return err
	}
	for _, name := range names {
		l, err := r.readLate(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rank := m.Session.Rank(l.Rank)
		if rank == nil {
			return fmt.Errorf("%s: the session has no %s", name, l.Rank.Text())
		}
		rank.Artifacts = append(rank.Artifacts, l.Artifacts...)
		if rank.Reason != "" {
			rank.Reason += "; "
		}
		rank.Reason += "what it recorded came after the session's end and is in " + LateDir + "/"
	}
	return nil
}

func (r *Run) readLate(name string) (l late, err error) {
	f, err := r.Open(name)
	if err != nil {
		return l, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return l, err
	}
	return parseLate(b)
}

// parseLate decodes and checks a list.
func parseLate(b []byte) (l late, err error) {
	if err = json.Unmarshal(b, &l); err == nil {
		err = checkSchema(l.SchemaVersion)
	}
	for _, a := range l.Artifacts {
		if err == nil {
			err = checkName(a.Name)
		}
	}
	return l, err
}
