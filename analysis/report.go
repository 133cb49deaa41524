package analysis

import (
	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Report is every analysis of one job that needs no further choice.
type Report struct {
	Ranks      []RankReport     `json:"ranks"` // one a trace, in the order given
	Stragglers *StragglerReport `json:"stragglers,omitempty"`
	Findings   []Finding        `json:"findings"` // most severe first
}

// RankReport is every analysis of one rank.
type RankReport struct {
	Rank        int             `json:"rank"`
	Stage       string          `json:"stage,omitempty"`
	File        string          `json:"file,omitempty"`
	Slices      int             `json:"slices"`
	Temporal    Temporal        `json:"temporal"`
	Kernels     KernelBreakdown `json:"kernels"`
	Overlap     Overlap         `json:"overlap"`
	Idle        Idle            `json:"idle"`
	Launches    LaunchStats     `json:"launches"`
	Queue       Queue           `json:"queue"`
	Bandwidth   MemoryBandwidth `json:"memory_bandwidth"`
	Annotations Annotations     `json:"annotations"`
	Ops         OpTable         `json:"ops"`
	Roofline    RooflineReport  `json:"roofline"`
	Memory      MemoryReport    `json:"memory"`
	Comms       CommTable       `json:"comms"`
	Counters    CounterTable    `json:"counters"`
	Host        cause.Report    `json:"host"`               // what the host did while the devices waited for it
	Frames      FrameTable      `json:"frames"`             // Python frames
	Recorded    *Recorded       `json:"recorded,omitempty"` // of a program that is neither a stage nor torch
}

// All runs every analysis on the ranks of one job, on all cores.
func All(trs []*trace.Trace, opt Options) Report { return AllOf(NewSubjects(trs), opt) }

// AllOf is All of subjects, whose views it shares with other questions.
func AllOf(list []*Subject, opt Options) Report {
	fs := framesOf(list, opt)
	out := Report{Ranks: make([]RankReport, len(fs))}
	jobs := make([]func(), 0, len(fs)*rankJobs+1)
	for i, f := range fs {
		jobs = append(jobs, f.jobs(&out.Ranks[i])...)
	}
	if len(fs) > 1 {
		jobs = append(jobs, func() {
			s := stragglers(fs)
			out.Stragglers = &s
		})
	}
	cores.Each(len(jobs), func(i int) { jobs[i]() })
	out.Findings = findings(fs, &out)
	return out
}

// rankJobs is the number of jobs of one rank.
const rankJobs = 16

// jobs returns the rank's analyses; each fills a field of r of its own.
func (f *frame) jobs(r *RankReport) []func() {
	r.Rank, r.Stage, r.File, r.Slices = f.rank, f.tr.Meta.Stage, f.tr.Meta.File, f.tr.Slices.Len()
	return []func(){
		func() { r.Ops = f.ops(OpOptions{}) }, // the longest first
		func() { r.Annotations = f.annotations() },
		func() { r.Roofline = f.roofline(RoofsOf(f.tr)) },
		func() { r.Memory = f.memory() },
		func() { r.Temporal = f.temporal() },
		func() { r.Kernels = f.kernels() },
		func() { r.Overlap = f.overlap() },
		func() { r.Idle = f.idle() },
		func() { r.Launches = f.launches(LaunchOptions{}) },
		func() { r.Queue = f.queue() },
		func() { r.Bandwidth = f.bandwidth() },
		func() { r.Comms = f.comms() },
		func() { r.Counters = f.counters() },
		func() { r.Frames = f.frames() },
		func() {
			switch {
			case f.seen == nil || f.opt.Window != nil:
				r.Host.Rows = []cause.Row{}
			case f.host != nil:
				r.Host = f.host()
			default:
				r.Host = cause.Of(f.seen)
			}
		},
		func() {
			if f.recordsItself() || f.ofOthers() {
				p := f.recorded()
				r.Recorded = &p
			}
		},
	}
}
