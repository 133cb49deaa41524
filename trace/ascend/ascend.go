// Package ascend reads what torch_npu leaves of one process: a directory
// <worker>_<pid>_<time>_ascend_pt whose ASCEND_PROFILER_OUTPUT holds trace_view.json,
// an array of Chrome events with times as text, beside tables in CSV.
//
// The events do not say what they are; the names of their processes do. The package
// gives every slice the category and lane that package trace knows, and joins host and
// device through connection_id. What each file may hold is in docs/trace-formats.md.
package ascend

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

const (
	outputDir  = "ASCEND_PROFILER_OUTPUT"
	viewFile   = "trace_view.json"
	suffix     = "_ascend_pt"
	doneMarker = "analyse.done"
)

// IsDir reports whether path is a directory as torch_npu names it.
func IsDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir() && strings.HasSuffix(filepath.Clean(path), suffix)
}

// RawOnlyError reports that a directory holds recordings that were never analysed.
type RawOnlyError struct{ Dir string }

// Error implements error.
func (e *RawOnlyError) Error() string {
	return fmt.Sprintf(
		"%s: raw recording only, no %s: run torch_npu.profiler.profiler.analyse(%q) where torch_npu is installed",
		e.Dir, filepath.Join(outputDir, viewFile), e.Dir)
}

// ReadDir reads the first trace of one process from its directory; see ReadDirAll.
func ReadDir(ctx context.Context, dir string, o kineto.Options) (*trace.Trace, error) {
	list, err := ReadDirAll(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// ReadDirAll reads the traces of one process from its directory: one, or several where
// analyses were written one behind the other into the same file.
func ReadDirAll(ctx context.Context, dir string, o kineto.Options) ([]*trace.Trace, error) {
	path := ""
	for _, name := range []string{viewFile, viewFile + ".gz"} {
		if p := filepath.Join(dir, outputDir, name); exists(p) {
			path = p
			break
		}
	}
	if path == "" {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("open ascend directory: %w", err)
		}
		return nil, &RawOnlyError{Dir: dir}
	}
	list, err := kineto.ReadFileAll(ctx, path, o)
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		Classify(t)
		identity.Learn(&t.Meta, identity.Hints{}) // what the file's own path said
		about(t, dir)
		identity.Learn(&t.Meta, identity.FromPath(dir))
	}
	return list, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// role says what the slices of one process of the file are.
type role struct {
	kind   trace.TrackKind
	cat    trace.Category // given to slices without one
	always bool           // cat replaces the file's own category
}

// roles are the processes by the name that metadata rows give them today, see kineto.NPUProcess.
var roles = map[string]role{
	kineto.NPUPython:   {trace.TrackCPU, trace.CatCPUOp, false},
	kineto.NPUCANN:     {trace.TrackCPU, trace.CatPrivateRuntime, true},
	kineto.NPUHardware: {trace.TrackGPU, trace.CatKernel, true},
	"Communication":    {trace.TrackGPU, trace.CatCollectiveComm, true},
	"HCCL":             {trace.TrackGPU, trace.CatCollectiveComm, true},
	"Overlap Analysis": {trace.TrackOther, trace.CatOther, false},
	"AI Core Freq":     {trace.TrackOther, trace.CatOther, false},
	"Python GC":        {trace.TrackCPU, trace.CatOther, false},
}

// taskCats are the task types of hardware rows that are not kernels.
var taskCats = map[string]trace.Category{
	"MEMCPY_ASYNC":  trace.CatGPUMemcpy,
	"SDMA_SQE":      trace.CatGPUMemcpy,
	"EVENT_WAIT":    trace.CatCUDASync,
	"EVENT_RECORD":  trace.CatCUDAEvent,
	"NOTIFY_WAIT":   trace.CatCUDASync,
	"NOTIFY_RECORD": trace.CatCUDAEvent,
}

// Classify gives the slices of a trace_view.json their categories, lanes and
// correlations. The trace must come from package kineto and be of format "ascend".
func Classify(t *trace.Trace) {
	delete(t.Repairs.Count, trace.RepairTextTime) // text is how this dialect writes times
	delete(t.Repairs.Count, trace.RepairTextID)   // and ids
	known := make([]role, len(t.Tracks))
	for i := range t.Tracks {
		k := &t.Tracks[i]
		now, card := kineto.NPUProcess(k.Process)
		r, ok := roles[now]
		if !ok {
			r = role{kind: k.Kind}
		}
		known[i], k.Kind = r, r.kind
		if r.kind == trace.TrackGPU {
			k.Device, k.Stream = max(0, card), stream(k)
		}
	}
	s := &t.Slices
	comm := make(map[trace.TrackID]bool)
	for i, id := range s.Track {
		r := known[id]
		if r.always || s.Cat[i] == trace.CatOther {
			s.Cat[i] = r.cat
		}
		if r.cat == trace.CatCollectiveComm && r.kind == trace.TrackGPU {
			comm[id] = true
		}
		if r.kind == trace.TrackGPU && r.cat == trace.CatKernel {
			if task, ok := t.ArgText(i, "Task Type"); ok {
				if c, ok := taskCats[strings.ToUpper(task)]; ok {
					s.Cat[i] = c
				}
			}
		}
		if c, ok := t.ArgInt(i, "connection_id"); ok && c > 0 &&
			(r.kind == trace.TrackGPU || r.cat == trace.CatPrivateRuntime) {
			s.Corr[i] = c
		}
	}
	for id := range comm {
		t.Tracks[id].Stream = -1 // a group or plane, no stream of the device
	}
	link(t)
}

var streamName = regexp.MustCompile(`(?i)^stream\s+(\d+)`)

// stream returns the stream of a hardware lane: from its name, else its tid.
func stream(k *trace.Track) int64 {
	if f := streamName.FindStringSubmatch(k.Name); f != nil {
		if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			return n
		}
	}
	return k.TID
}

var (
	infoName  = regexp.MustCompile(`^profiler_info_(\d+)\.json$`)
	deviceDir = regexp.MustCompile(`^device_(\d+)$`)
)

// about fills Meta from what lies in the directory beside the trace.
func about(t *trace.Trace, dir string) {
	m := &t.Meta
	if m.Extra == nil {
		m.Extra = make(map[string]string)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if f := infoName.FindStringSubmatch(e.Name()); f != nil {
			m.Rank, _ = strconv.Atoi(f[1])
		}
		if strings.HasPrefix(e.Name(), "profiler_info") && strings.HasSuffix(e.Name(), ".json") {
			info(t, filepath.Join(dir, e.Name()))
		}
		if strings.HasPrefix(e.Name(), "PROF_") && e.IsDir() {
			device(t, filepath.Join(dir, e.Name()))
		}
	}
	metadata(t, filepath.Join(dir, "profiler_metadata.json"))
	raw, err := plainfile.ReadPath(filepath.Join(dir, outputDir, "communication.json"))
	if err == nil && json.Valid(raw) && len(raw) < 1<<20 {
		m.Extra["communication"] = string(raw)
	}
	if !exists(filepath.Join(dir, outputDir, doneMarker)) {
		m.Extra["analyse_done"] = "false"
	}
}

// info reads profiler_info.json: its rank if the name had none.
func info(t *trace.Trace, path string) {
	raw, err := plainfile.ReadPath(path)
	if err != nil {
		return
	}
	var v struct {
		Rank *int `json:"rank_id"`
	}
	if json.Unmarshal(raw, &v) != nil {
		t.Repairs.Add(trace.RepairMetadata, 1)
		return
	}
	if v.Rank != nil && *v.Rank >= 0 && t.Meta.Rank < 0 {
		t.Meta.Rank = *v.Rank
	}
	t.Meta.Extra["profiler_info"] = string(raw)
}

// metadata reads profiler_metadata.json: the groups of ranks.
func metadata(t *trace.Trace, path string) {
	raw, err := plainfile.ReadPath(path)
	if err != nil {
		return
	}
	var v struct {
		Groups map[string]struct {
			Name  string `json:"group_name"`
			Rank  int    `json:"group_rank"`
			Ranks []int  `json:"global_ranks"`
		} `json:"parallel_group_info"`
	}
	if json.Unmarshal(raw, &v) != nil {
		t.Repairs.Add(trace.RepairMetadata, 1)
		return
	}
	for id, g := range v.Groups {
		t.Meta.ProcessGroups = append(t.Meta.ProcessGroups, trace.ProcessGroup{
			Name: id, Desc: g.Name, Backend: "hccl", Size: len(g.Ranks), Ranks: g.Ranks,
		})
		t.Meta.WorldSize = max(t.Meta.WorldSize, len(g.Ranks))
		t.Meta.Backend = "hccl"
	}
	slices.SortFunc(t.Meta.ProcessGroups, func(a, b trace.ProcessGroup) int { return strings.Compare(a.Name, b.Name) })
}

// device notes the device from a raw directory's device_<n>.
func device(t *trace.Trace, prof string) {
	entries, _ := os.ReadDir(prof)
	for _, e := range entries {
		f := deviceDir.FindStringSubmatch(e.Name())
		if f == nil {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			continue
		}
		t.Meta.Devices = append(t.Meta.Devices, trace.Device{ID: n, Name: "Ascend NPU"})
		for i := range t.Tracks {
			if t.Tracks[i].Kind == trace.TrackGPU {
				t.Tracks[i].Device = int64(n)
			}
		}
	}
}
