package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// sayEvery is how often the log says what the driver waits for.
const sayEvery = 2 * time.Second

// exportPatience multiplies the time to wait for a server that has said that it goes on writing:
// SGLang's own merge waits five minutes for its exports.
const exportPatience = 100

// quiet returns how long no file may have changed after a stop for the files to count as complete.
func (f finding) quiet() time.Duration {
	d := f.c.d.time.quiet
	if f.c.round.facts.Nsys || f.making {
		reports := slices.ContainsFunc(f.files, func(x found) bool { return x.kind == protocol.KindNsys })
		if f.making || !reports {
			return f.c.d.time.report
		}
	}
	if !f.c.queued() {
		return d
	}
	n := 0
	for _, x := range f.files {
		if !x.main {
			continue
		}
		if _, ok := f.markers[x.name]; !ok {
			return d * exportPatience
		}
		n++
	}
	if n < len(f.expected()) {
		return d * exportPatience
	}
	return d
}

// await waits until the server has answered the stop and no file grows any more. The error says why
// that did not happen.
func (c *capture) await(ctx context.Context, answered <-chan error) error {
	look := time.NewTicker(c.d.time.look)
	defer look.Stop()
	began, said, changed := time.Now(), time.Now(), time.Now()
	last, stopped := "", false
	var failed error
	for {
		select {
		case failed = <-answered:
			stopped, answered = true, nil
			changed = time.Now()
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("it was waited for for %v", time.Since(began).Round(time.Second))
		}
		f := c.find()
		now := fmt.Sprint(f.files)
		if now != last {
			last, changed = now, time.Now()
		}
		if time.Since(said) > sayEvery {
			said = time.Now()
			c.tell(f, time.Since(began), stopped)
		}
		// Without an answer to the stop only the files show the end, and they may come late.
		if stopped && (f.complete() || time.Since(changed) > f.quiet()) {
			if failed != nil && !f.complete() {
				return fmt.Errorf("POST /stop_profile: %w", plain(failed))
			}
			return nil
		}
	}
}

// tell logs how far the server is.
func (c *capture) tell(f finding, since time.Duration, stopped bool) {
	w := f.writing()
	c.d.log.Info("a server writes", "target", c.d.to.String(), "answered_stop", stopped, "files", w.Files, "done",
		w.Done, "bytes", w.Bytes, "for", since.Round(time.Second))
}

// writing returns how far the files are. A file that has grown since the last look is not complete,
// and is not read.
func (f finding) writing() protocol.Writing {
	var w protocol.Writing
	for _, x := range f.files {
		w.Files++
		w.Bytes += x.size
		if x.size > 0 && !x.grows && !x.loose && f.whole(x) == nil {
			w.Done++
		}
	}
	return w
}

// judge sorts the files into those that the rank hands over as its own, those of the ranks that it
// stands for, and the ranks that left none.
func (c *capture) judge(failed error) (driver.Files, error) {
	f := c.find()
	bySpot := map[spot][]found{}
	bad := map[spot]string{}
	all := map[spot]bool{}
	for _, k := range f.expected() {
		all[k] = true
	}
	for _, x := range f.files {
		err := f.whole(x)
		k := x.spot()
		all[k] = all[k] || x.main && len(all) < maxRanks
		switch {
		case x.mixed:
		case err == nil:
			bySpot[k] = append(bySpot[k], x)
		case x.main:
			bad[k] = fmt.Sprintf("%s: %v", x.name, err)
		}
	}
	why := c.why(f, failed)
	out := driver.Files{Note: f.note(bySpot)}
	any := false
	for _, k := range slices.SortedFunc(maps.Keys(all), spot.compare) {
		if !all[k] {
			continue
		}
		files, events := c.hand(bySpot[k])
		has := slices.ContainsFunc(bySpot[k], func(x found) bool { return x.main })
		any = any || has
		reason := ""
		if !has {
			if reason = bad[k]; reason == "" {
				reason = why
			}
		}
		if k == (spot{}) {
			out.Files, out.Events, out.Failed = files, events, reason
			continue
		}
		id := c.d.rank
		id.Replica += k.replica * max(c.d.apart, 1)
		id.Rank = k.rank
		o := rank.Other{ID: id, State: protocol.StateStopped, Files: files, Events: events}
		if !has {
			o.State, o.Reason, o.Files = protocol.StateFailed, reason, nil
		}
		out.Others = append(out.Others, o)
	}
	if !any && len(out.Files) == 0 && len(bad) == 0 {
		return driver.Files{}, errors.New(why)
	}
	lines, ok, err := c.appendedFile()
	if err != nil {
		c.d.log.Warn("what a server tells of itself is lost", "target", c.d.to.String(), "err", err)
	}
	if ok {
		out.Files = append([]rank.File{lines}, out.Files...)
	}
	if more, ok := c.meteredFile(); ok {
		out.Files = append([]rank.File{more}, out.Files...)
	}
	return out, nil
}

// note says what people should know about the files.
func (f finding) note(bySpot map[spot][]found) string {
	var notes []string
	c := f.c
	if f.guessed {
		notes = append(notes, "the server's processes cannot be seen from here: which ranks are of one replica is told by "+
			"the order of their process ids alone; an agent on its host knows it")
	}
	if a := c.answered(); a.ok() && bytes.Contains(a.body, []byte("with warnings")) {
		notes = append(notes, fmt.Sprintf("the server says: %v", a))
	}
	for _, k := range slices.SortedFunc(maps.Keys(bySpot), spot.compare) {
		seen := map[string]string{}
		for _, x := range bySpot[k] {
			if other := seen[x.as]; x.main && x.kind == protocol.KindTrace && other != "" {
				notes = append(notes, fmt.Sprintf("both %s and %s say that they are of rank %d: "+
					"replicas or hosts that the server's names do not tell apart", other, x.name, k.rank))
			}
			seen[x.as] = x.name
		}
	}
	return strings.Join(notes, "; ")
}

// shownOdd is how many names of what is not taken a reason has.
const shownOdd = 3

// why says why a rank has no trace, by what was seen instead.
func (c *capture) why(f finding, failed error) string {
	var names []string
	for _, x := range f.files {
		names = append(names, fmt.Sprintf("%s (%d bytes)", x.name, x.size))
	}
	saw := "nothing new"
	if len(names) > 0 {
		saw = strings.Join(names, ", ")
	}
	text := fmt.Sprintf("%s left no trace of this rank in %s; seen: %s", c.d.to, c.dir, saw)
	prefix := c.tag + "_"
	if c.own != "" {
		prefix = ""
	}
	if odd := c.folder.odd(prefix); len(odd) > 0 {
		text += "; links and pipes, which are not taken: " + strings.Join(odd[:min(len(odd), shownOdd)], ", ")
	}
	if failed != nil {
		return text + "; " + failed.Error()
	}
	if a := c.answered(); a.status != 0 && !a.ok() {
		text += fmt.Sprintf("; it answered the stop with %v", a)
	}
	return text + "; " + c.d.e.nothing(c.job)
}

// hand returns the files to hand over, the trace of the rank's work last: a conversion takes the
// last one as the rank's trace. events counts the events of that trace.
func (c *capture) hand(list []found) (out []rank.File, events uint64) {
	slices.SortStableFunc(list, func(a, b found) int {
		if a.main == b.main {
			return strings.Compare(a.as, b.as)
		} else if a.main {
			return 1
		}
		return -1
	})
	taken := map[string]int{}
	for _, x := range list {
		name := x.as
		if n := taken[name]; n > 0 { // a second file of that kind, for instance of an API server
			base, ext, _ := strings.Cut(name, ".")
			name = fmt.Sprintf("%s_%d.%s", base, n+1, ext)
		}
		taken[x.as]++
		path := filepath.Join(c.dir, x.name)
		out = append(out, rank.File{Name: name, Kind: x.kind, Path: path, Content: c.folder.content(x.name)})
		if x.main && x.kind == protocol.KindTrace {
			_, n, _ := c.folder.readTail(x.name) // it was valid a moment ago
			events += n
		}
	}
	return out, events
}
