// Package native drives package profiler in the process that is recorded: a driver whose
// rank's recordings are written to <spool>/<session>/stageS_replicaR_rankK.ksrec while they
// grow, so that they are complete up to the kill of a process that is killed.
package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Recorder is what the driver turns on and off; *profiler.Recorder is one.
type Recorder interface {
	Start(profiler.StartOptions) error
	Stop() (profiler.Stats, error)
}

// FlightRecorder is what a Recorder offers that keeps the recent past;
// *profiler.Recorder does.
type FlightRecorder interface {
	FlightStart(profiler.FlightOptions) error
	Flying() bool
	Snapshot(w io.Writer, last time.Duration) (profiler.Stats, error)
}

// noFlight is the reason of a rank that has no past to hand over.
const noFlight = "the flight recorder is off on this rank: give the stage flight_recorder_mb"

// Driver records this process with a Recorder. It is a driver.Keeper.
type Driver struct {
	driver.Spool
	rec  Recorder
	info protocol.RankInfo
}

// New returns the driver of the rank that info names, which writes under spoolDir.
func New(rec Recorder, info protocol.RankInfo, spoolDir string) *Driver {
	return &Driver{Spool: driver.Spool{Dir: spoolDir, Base: info.FileBase()}, rec: rec, info: info}
}

// NewRank is driver.NewRank with New.
func NewRank(rec Recorder, info protocol.RankInfo, spoolDir string, opts ...driver.Option) *driver.Rank {
	return driver.NewRank(New(rec, info, spoolDir), info, opts...)
}

// Capabilities are all, but the past is kept only while the flight recorder is on.
func (d *Driver) Capabilities() driver.Capabilities {
	c := driver.Capabilities{Iterations: driver.IterationsTold}
	if fr, ok := d.rec.(FlightRecorder); !ok || !fr.Flying() {
		c.NoPast = noFlight
	}
	return c
}

// StartFlight arms the flight recorder; its snapshots name the rank as recordings do.
func (d *Driver) StartFlight(o profiler.FlightOptions) error {
	fr, ok := d.rec.(FlightRecorder)
	if !ok {
		return errors.New(noFlight)
	}
	o.Meta = d.meta("")
	return fr.FlightStart(o)
}

// Prepare makes the file, so that a full or read-only disk is known before anything starts.
func (d *Driver) Prepare(_ context.Context, j driver.Job) (driver.Capture, error) {
	f, err := d.Create(j.Session, protocol.RecordingExt)
	if err != nil {
		return nil, err
	}
	w := newWriter(f, j.MaxBytes, func() { j.Over(protocol.StoppedByMaxBytes, nil) })
	if j.Last > 0 {
		w.end() // a look back waits for the file
	}
	return &capture{d: d, job: j, file: w}, nil
}

// meta is what a recording says about its rank.
func (d *Driver) meta(session string) map[string]string {
	i := &d.info
	m := map[string]string{
		protocol.MetaPipeline: i.Pipeline, protocol.MetaStage: i.StageName,
		protocol.MetaStageType: string(i.StageType), protocol.MetaStageID: strconv.Itoa(i.Stage),
		protocol.MetaReplica: strconv.Itoa(i.Replica), protocol.MetaRank: strconv.Itoa(i.Rank),
		protocol.MetaWorldSize: strconv.Itoa(i.WorldSize), protocol.MetaHost: i.Host,
		protocol.MetaIncarnation: i.Incarnation,
	}
	if session != "" {
		m[protocol.MetaSession] = session
	}
	return m
}

// capture is one session's file. The Rank calls it one method at a time, but for Written.
type capture struct {
	d     *Driver
	job   driver.Job
	file  *writer
	taken *profiler.Stats // of the flight recorder's past
}

// Begin starts the recorder, or takes the past.
func (c *capture) Begin(context.Context) (driver.Began, error) {
	if c.job.Last > 0 {
		return c.lookBack()
	}
	cfg := c.job.Config
	err := c.d.rec.Start(profiler.StartOptions{
		Out: c.file, RecordShapes: cfg.RecordShapes, WithStack: cfg.WithStack,
		WithFLOPs: cfg.WithFLOPs, WithMemory: cfg.WithMemory, Meta: c.d.meta(c.job.Session),
	})
	if err != nil {
		return driver.Began{}, fmt.Errorf("start recorder: %w", err)
	}
	return driver.Began{At: c.job.Now()}, nil
}

func (c *capture) lookBack() (driver.Began, error) {
	fr, ok := c.d.rec.(FlightRecorder)
	if !ok || !fr.Flying() { // it was switched off since the arm
		return driver.Began{}, errors.New(noFlight)
	}
	at := c.job.Now().Add(-c.job.Last)
	stats, err := fr.Snapshot(c.file, c.job.Last)
	c.taken = &stats
	return driver.Began{At: at}, err
}

// End stops the recorder; the file is complete and synced after.
func (c *capture) End(context.Context) (driver.Ended, error) {
	var stats profiler.Stats
	var err error
	c.file.end()
	if c.taken != nil {
		stats = *c.taken
	} else {
		stats, err = c.d.rec.Stop()
	}
	at := c.job.Now()
	err = c.file.explain(errors.Join(err, c.file.finish()))
	return driver.Ended{At: at, Events: stats.Events, Drops: stats.Drops, Bytes: uint64(c.file.written())}, err
}

// Files returns the recording.
func (c *capture) Files(context.Context) (driver.Files, error) {
	f := rank.File{Name: "recording" + protocol.RecordingExt, Kind: protocol.KindRecording, Path: c.file.Name()}
	return driver.Files{Files: []rank.File{f}}, nil
}

// Counted asks a Recorder that counts while it records, as *profiler.Recorder does.
func (c *capture) Counted() (events, drops uint64) {
	if r, ok := c.d.rec.(interface{ Stats() profiler.Stats }); ok && c.taken == nil {
		s := r.Stats()
		return s.Events, s.Drops
	}
	return 0, 0
}

// Written is the file's size.
func (c *capture) Written() int64 { return c.file.written() }

// Discard removes the file.
func (c *capture) Discard() error {
	return errors.Join(c.file.finish(), c.d.Remove(c.file.Name()))
}

var (
	_ driver.Keeper  = (*Driver)(nil)
	_ driver.Counter = (*capture)(nil)
)
