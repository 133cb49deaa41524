package trace

import "strconv"

// Category is the kind of a slice: Kineto's cat, with old spellings folded in.
type Category uint8

// The categories that the analyses know. Others are registered per trace from CatDynamic on.
const (
	CatOther Category = iota // none given
	CatCPUOp
	CatUserAnnotation
	CatGPUUserAnnotation
	CatCUDARuntime
	CatCUDADriver
	CatKernel
	CatGPUMemcpy
	CatGPUMemset
	CatPythonFunction
	CatCPUInstant
	CatOverhead
	CatCUDASync
	CatCUDAEvent
	CatTraceSpan
	CatMTIARuntime
	CatMTIACCP
	CatProfilerRange
	CatCollectiveComm
	CatExternalCorrelation
	CatGlowRuntime
	CatHPUOp
	CatXPURuntime
	CatXPUDriver
	CatXPUSync
	CatXPUScope
	CatPrivateRuntime
	CatPrivateDriver
	CatMTIAInsight
	CatMTIACounters
	CatHardwareCounters
	catStatic // number of the above
)

// CatDynamic is the first category that a trace registers itself; see Trace.Category.
const CatDynamic Category = 64

// maxDynamic bounds the categories of one trace: Category is a byte. Real files have
// fewer than twenty; the rest become CatOther and are counted as RepairCategoryLimit.
const maxDynamic = 256 - int(CatDynamic)

var catNames = [catStatic]string{
	CatOther:               "",
	CatCPUOp:               "cpu_op",
	CatUserAnnotation:      "user_annotation",
	CatGPUUserAnnotation:   "gpu_user_annotation",
	CatCUDARuntime:         "cuda_runtime",
	CatCUDADriver:          "cuda_driver",
	CatKernel:              "kernel",
	CatGPUMemcpy:           "gpu_memcpy",
	CatGPUMemset:           "gpu_memset",
	CatPythonFunction:      "python_function",
	CatCPUInstant:          "cpu_instant_event",
	CatOverhead:            "overhead",
	CatCUDASync:            "cuda_sync",
	CatCUDAEvent:           "cuda_event",
	CatTraceSpan:           "Trace",
	CatMTIARuntime:         "mtia_runtime",
	CatMTIACCP:             "mtia_ccp_events",
	CatProfilerRange:       "cuda_profiler_range",
	CatCollectiveComm:      "collective_comm",
	CatExternalCorrelation: "external_correlation",
	CatGlowRuntime:         "glow_runtime",
	CatHPUOp:               "hpu_op",
	CatXPURuntime:          "xpu_runtime",
	CatXPUDriver:           "xpu_driver",
	CatXPUSync:             "xpu_sync",
	CatXPUScope:            "xpu_scope_profiler",
	CatPrivateRuntime:      "privateuse1_runtime",
	CatPrivateDriver:       "privateuse1_driver",
	CatMTIAInsight:         "mtia_insight",
	CatMTIACounters:        "mtia_counters",
	CatHardwareCounters:    "hardware_counters",
}

// catAliases are the spellings of 2021 and 2022.
var catAliases = map[string]Category{
	"Operator": CatCPUOp,
	"Kernel":   CatKernel,
	"Memcpy":   CatGPUMemcpy,
	"Memset":   CatGPUMemset,
	"Runtime":  CatCUDARuntime,
}

var catByName = func() map[string]Category {
	m := make(map[string]Category, len(catNames)+len(catAliases))
	for c, s := range catNames {
		m[s] = Category(c)
	}
	for s, c := range catAliases {
		m[s] = c
	}
	return m
}()

// ParseCategory returns the category that text names in any era's spelling, and
// whether it is one that the analyses know.
func ParseCategory(text string) (Category, bool) {
	c, ok := catByName[text]
	return c, ok
}

// String returns Kineto's text of c. A category registered by a trace has its text
// only there: use Trace.CategoryText.
func (c Category) String() string {
	if c < catStatic {
		return catNames[c]
	}
	return "category(" + strconv.Itoa(int(c)) + ")"
}

// Device reports whether slices of c lie on a device's stream.
func (c Category) Device() bool {
	switch c {
	case CatKernel, CatGPUMemcpy, CatGPUMemset, CatGPUUserAnnotation, CatCUDASync, CatCUDAEvent,
		CatMTIACCP, CatMTIAInsight, CatProfilerRange, CatCollectiveComm:
		return true
	}
	return false
}

// Busy reports whether slices of c are work of a device: kernels, copies and fills,
// not annotations, waits or markers.
func (c Category) Busy() bool {
	switch c {
	case CatKernel, CatGPUMemcpy, CatGPUMemset, CatMTIACCP, CatCollectiveComm:
		return true
	}
	return false
}

// Runtime reports whether slices of c are calls of a device's runtime or driver.
func (c Category) Runtime() bool {
	switch c {
	case CatCUDARuntime, CatCUDADriver, CatMTIARuntime, CatXPURuntime, CatXPUDriver,
		CatPrivateRuntime, CatPrivateDriver, CatGlowRuntime:
		return true
	}
	return false
}

// Category returns the category of text, registering it in t if it is new.
func (t *Trace) Category(text string) Category {
	if c, ok := catByName[text]; ok {
		return c
	}
	for i, s := range t.cats {
		if s == text {
			return CatDynamic + Category(i)
		}
	}
	if len(t.cats) == maxDynamic {
		t.Repairs.Add(RepairCategoryLimit, 1)
		return CatOther
	}
	if v := t.valid(text); v != text {
		return t.Category(v)
	}
	t.cats = append(t.cats, text)
	return CatDynamic + Category(len(t.cats)-1)
}

// CategoryText returns the text of c as Kineto writes it today.
func (t *Trace) CategoryText(c Category) string {
	if i := int(c) - int(CatDynamic); i >= 0 && i < len(t.cats) {
		return t.cats[i]
	}
	return c.String()
}

// Categories returns the texts of the categories from CatDynamic on.
func (t *Trace) Categories() []string { return t.cats }

// SetCategories restores what Categories returned.
func (t *Trace) SetCategories(texts []string) { t.cats = texts[:min(len(texts), maxDynamic)] }
