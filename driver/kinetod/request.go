package kinetod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// request is what a process is told to record.
type request struct {
	file     string // the trace; libkineto puts _<pid> before its .json
	start    time.Time
	duration time.Duration
	warmup   time.Duration // whole seconds
	traceID  string
	cfg      protocol.ProfilerConfig
}

var (
	cpuActivities = []string{"cpu_op", "user_annotation", "cpu_instant_event", "python_function", "overhead"}
	gpuActivities = []string{"gpu_user_annotation", "gpu_memcpy", "gpu_memset", "kernel", "external_correlation",
		"cuda_runtime", "cuda_driver", "cuda_sync"}
)

// activities are libkineto's names of what torch records, by its name in a profiler
// config. Without a list libkineto records all that it can.
var activities = map[string][]string{
	"CPU": cpuActivities, "CUDA": gpuActivities, "GPU": gpuActivities, "ROCM": gpuActivities, "HIP": gpuActivities,
	"XPU":  {"gpu_user_annotation", "gpu_memcpy", "gpu_memset", "kernel", "external_correlation", "xpu_runtime"},
	"MTIA": {"mtia_runtime", "mtia_ccp_events", "mtia_insight", "mtia_counters"},
}

// checkFile refuses paths that libkineto's parser would read as something else: it takes
// # for a comment, a line with two = for none, and puts the pid before the first .json.
func checkFile(path string) error {
	dir := path[:strings.LastIndexByte(path, '/')+1]
	switch {
	case !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, ".json"):
		return fmt.Errorf("trace file %q: want an absolute path that ends in .json", path)
	case strings.ContainsFunc(path, neutral.Command):
		return fmt.Errorf("trace file %q has characters that no line of a config may have", path)
	case strings.ContainsAny(path, "#=") || strings.TrimSpace(path) != path:
		return fmt.Errorf("trace file %q: Kineto takes no path with #, =, line ends or spaces around it", path)
	case strings.Contains(dir, ".json") || slices.Contains(strings.Split(dir, "/"), ".."):
		return fmt.Errorf(
			"trace file %q: Kineto takes no directory with .json in its name and none named ..; choose another", path)
	}
	return nil
}

// text is the request as libkineto reads it.
func (r *request) text() (string, error) {
	if err := checkFile(r.file); err != nil {
		return "", err
	}
	if strings.ContainsFunc(r.traceID, neutral.Command) {
		return "", fmt.Errorf("session %q: a config is lines, and a session's name is none", r.traceID)
	}
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%s=%v\n", key, value) }
	line("ACTIVITIES_LOG_FILE", r.file)
	line("PROFILE_START_TIME", r.start.UnixMilli())
	line("ACTIVITIES_DURATION_MSECS", r.duration.Milliseconds())
	line("ACTIVITIES_WARMUP_PERIOD_SECS", int(r.warmup/time.Second))
	line("PROFILE_REPORT_INPUT_SHAPES", r.cfg.RecordShapes)
	line("PROFILE_PROFILE_MEMORY", r.cfg.WithMemory)
	line("PROFILE_WITH_STACK", r.cfg.WithStack)
	line("PROFILE_WITH_FLOPS", r.cfg.WithFLOPs)
	line("REQUEST_TRACE_ID", r.traceID)
	var types []string
	for _, a := range r.cfg.Activities {
		names, ok := activities[strings.ToUpper(a)]
		if !ok {
			return "", fmt.Errorf("torch_profiler_activities: Kineto's daemon protocol has no %q", a)
		}
		for _, n := range names {
			if !slices.Contains(types, n) {
				types = append(types, n)
			}
		}
	}
	if types != nil {
		line("ACTIVITY_TYPES", strings.Join(types, ","))
	}
	return b.String(), nil
}

// traceFile is where libkineto writes the trace of a process.
func traceFile(path string, pid int) string {
	return fmt.Sprintf("%s_%d.json", strings.TrimSuffix(path, ".json"), pid)
}
