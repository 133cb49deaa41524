package server

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/scrape"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
)

const (
	// maxSamples bounds what is kept of a session: half an hour at the usual pace. Of a longer one
	// every second sample goes, and from then on half as many are taken.
	maxSamples = 3600
	// metricsName is what the samples are called among a rank's files.
	metricsName = "metrics.json"
	// metricsPID is the number under which the samples stand in a trace: no process has it, for
	// Linux counts to 2^22.
	metricsPID = 1 << 24
)

// metered is what a server said of itself while a session went on. Only its goroutine touches it
// until done is closed.
type metered struct {
	over  chan struct{} // closed by end
	once  sync.Once
	done  chan struct{}
	rows  []meteredRow
	every time.Duration
	none  error // why the server was not asked on
	lost  int   // questions that were not answered
}

type meteredRow struct {
	at     time.Time // the rank's clock
	values []scrape.Value
}

// end has the server asked once more, and then not again.
func (m *metered) end() {
	if m != nil {
		m.once.Do(func() { close(m.over) })
	}
}

// meter asks the server for its metrics until the recording is to end, and then once more. A server
// that has none is asked once.
func (c *capture) meter() {
	m := c.metered
	defer close(m.done)
	var before *scrape.Sample
	ask := func(ctx context.Context) {
		from := c.job.Now()
		header, token := c.d.c.auth()
		now, err := scrape.Fetch(ctx, c.d.c.http, c.d.c.base, header, token)
		if err != nil {
			m.lost++
			if before == nil {
				m.none = err
			}
			return
		}
		// The answer is as of some time between question and answer: the middle is wrong by half at most.
		at := from.Add(c.job.Now().Sub(from) / 2)
		m.add(meteredRow{at, scrape.Values(before, now)})
		before, m.none = now, nil
	}
	ctx, cancel := context.WithCancel(c.d.ctx)
	defer cancel()
	c.d.wg.Go(func() { // a question that is under way when the session ends is given up
		select {
		case <-m.over:
			cancel()
		case <-ctx.Done():
		}
	})
	ask(ctx)
	if m.none != nil && ctx.Err() == nil { // not because the session was over before the answer
		return
	}
	for {
		next := time.NewTimer(m.every)
		select {
		case <-next.C:
			ask(ctx)
			continue
		case <-m.over:
		case <-c.d.ctx.Done():
		}
		next.Stop()
		break
	}
	last, end := context.WithTimeout(c.d.ctx, c.d.time.ask)
	defer end()
	ask(last)
}

// add keeps a sample, and thins what is kept when it is too much.
func (m *metered) add(r meteredRow) {
	if len(m.rows) == maxSamples {
		for i := range maxSamples / 2 {
			m.rows[i] = m.rows[2*i]
		}
		m.rows = m.rows[:maxSamples/2]
		m.every *= 2
	}
	m.rows = append(m.rows, r)
}

// meteredFile returns the samples as counters of a trace, which is read with the rank's own. It is
// written when it is handed over, from memory: no file of it is left whatever ends the session. ok
// is false if there are none.
func (c *capture) meteredFile() (f rank.File, ok bool) {
	m := c.metered
	if m == nil {
		return f, false
	}
	<-m.done
	t := trace.New()
	t.Meta.WallClock = true
	track := t.AddTrack(trace.Track{Kind: trace.TrackOther, PID: metricsPID, Device: -1, Stream: -1,
		Process: c.d.to.String(), Name: trace.TrackServer})
	if n := len(m.rows); n > 0 {
		t.Meta.WindowStart, t.Meta.WindowEnd = m.rows[0].at.UnixNano(), m.rows[n-1].at.UnixNano()
	}
	for _, r := range m.rows {
		for _, v := range r.values {
			t.AddCounter(r.at.UnixNano(), v.Name, v.Name, track, v.Value)
		}
	}
	if len(t.Counters.Time) == 0 {
		if m.none != nil {
			c.d.log.Info("a server tells no metrics", "target", c.d.to.String(), "err", plain(m.none))
		}
		return f, false
	}
	return rank.File{Name: metricsName, Kind: protocol.KindMetrics, Path: metricsName,
		Content: func() (*io.SectionReader, io.Closer, error) {
			var b bytes.Buffer
			_, err := chrome.Write(&b, t, chrome.Options{TraceName: "metrics of " + c.d.to.String()})
			text := bytes.NewReader(b.Bytes())
			return io.NewSectionReader(text, 0, text.Size()), io.NopCloser(text), err
		}}, true
}
