package analysis

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// rawEvent is one row of a Kineto file.
type rawEvent struct {
	Ph, Name, Cat string
	PID, TID      json.RawMessage
	TS, Dur       json.Number
	Args          json.RawMessage
}

var testCats = map[string]trace.Category{
	"cpu_op": trace.CatCPUOp, "Operator": trace.CatCPUOp, "user_annotation": trace.CatUserAnnotation,
	"gpu_user_annotation": trace.CatGPUUserAnnotation, "cuda_runtime": trace.CatCUDARuntime, "Runtime": trace.CatCUDARuntime,
	"cuda_driver": trace.CatCUDADriver, "kernel": trace.CatKernel, "Kernel": trace.CatKernel,
	"gpu_memcpy": trace.CatGPUMemcpy, "Memcpy": trace.CatGPUMemcpy, "gpu_memset": trace.CatGPUMemset, "Memset": trace.CatGPUMemset,
	"python_function": trace.CatPythonFunction, "overhead": trace.CatOverhead, "cuda_sync": trace.CatCUDASync,
	"Trace": trace.CatTraceSpan, "mtia_runtime": trace.CatMTIARuntime, "mtia_ccp_events": trace.CatMTIACCP,
	"cuda_profiler_range": trace.CatProfilerRange, "cpu_instant_event": trace.CatCPUInstant,
}

// loadShared reads a shared Kineto sample by name, or skips the test.
func loadShared(t testing.TB, name string) *trace.Trace {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "traces", name+".json.gz")
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("shared traces are not here: %v", err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := parseKineto(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return tr
}

func parseKineto(data []byte) (*trace.Trace, error) {
	var file struct {
		TraceEvents         []rawEvent
		BaseTimeNanoseconds int64
		DistributedInfo     struct{ Rank *int }
		DeviceProperties    []struct {
			ID             int
			Name           string
			TotalGlobalMem int64
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	tr := trace.New()
	tr.Meta.BaseTimeNs, tr.Meta.WallClock = file.BaseTimeNanoseconds, true
	if file.DistributedInfo.Rank != nil {
		tr.Meta.Rank = *file.DistributedInfo.Rank
	}
	for _, d := range file.DeviceProperties {
		tr.Meta.Devices = append(tr.Meta.Devices, trace.Device{ID: d.ID, Name: d.Name, TotalMemory: d.TotalGlobalMem})
	}
	tracks := map[string]trace.TrackID{}
	for i, e := range file.TraceEvents {
		cat := testCats[e.Cat]
		key := string(e.PID) + "/" + string(e.TID)
		var args map[string]json.RawMessage
		_ = json.Unmarshal(e.Args, &args)
		device := isDeviceWork(cat) || cat == trace.CatGPUUserAnnotation || cat == trace.CatCUDASync
		if device {
			key = "gpu" + string(args["device"]) + "/" + string(args["stream"])
		}
		id, ok := tracks[key]
		if !ok {
			k := trace.Track{PID: rawInt(e.PID), TID: rawInt(e.TID), Device: -1, Stream: -1}
			if device {
				k.Kind, k.Device, k.Stream = trace.TrackGPU, rawInt(args["device"]), rawInt(args["stream"])
			}
			id = tr.AddTrack(k)
			tracks[key] = id
		}
		ts := ns(e.TS.String()) + file.BaseTimeNanoseconds
		switch {
		case e.Ph == "X" && e.Dur != "":
			corr := int64(0)
			if c := args["correlation"]; c != nil {
				corr = rawInt(c)
			}
			if e.Cat == "" {
				continue
			}
			tr.AddSlice(trace.Slice{Start: ts, Dur: ns(e.Dur.String()), Name: e.Name, Cat: cat, Track: id, Corr: corr, Args: e.Args})
			tr.Slices.Event[tr.Slices.Len()-1] = uint32(i)
		case e.Ph == "i":
			tr.AddInstant(ts, e.Name, cat, id, e.Args)
		}
	}
	return tr, nil
}

func rawInt(raw json.RawMessage) int64 {
	text := strings.Trim(string(bytes.TrimSpace(raw)), `"`)
	v, err := strconv.ParseInt(strings.TrimPrefix(text, "stream "), 10, 64)
	if err != nil {
		return -1
	}
	return v
}

// ns turns decimal microseconds into nanoseconds.
func ns(text string) int64 {
	whole, frac, _ := strings.Cut(text, ".")
	if strings.ContainsAny(text, "eE") {
		v, _ := strconv.ParseFloat(text, 64)
		return int64(math.Round(v * 1000))
	}
	w, _ := strconv.ParseInt(whole, 10, 64)
	f, _ := strconv.ParseInt((frac + "000")[:3], 10, 64)
	if strings.HasPrefix(text, "-") {
		f = -f
	}
	return w*1000 + f
}
