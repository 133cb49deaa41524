package opstats

import (
	"iter"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Names of devices, as torch's columns and activities have them.
const (
	DeviceCPU  = "CPU"
	DeviceCUDA = "CUDA" // NVIDIA, and AMD, which torch calls so
	DeviceXPU  = "XPU"
	DeviceNPU  = "NPU"
	DeviceMUSA = "MUSA"
	DeviceMTIA = "MTIA"
)

// Signs of a device, strongest first: the library of its collectives, what its runtime
// calls begin with, what its cards are called.
var (
	backendDevice = map[string]string{"hccl": DeviceNPU, "mccl": DeviceMUSA, "xccl": DeviceXPU}
	prefixDevice  = []struct{ prefix, device string }{{"musa", DeviceMUSA}, {"acl", DeviceNPU}}
	cardDevice    = []struct{ part, device string }{{"ascend", DeviceNPU}, {"mtt s", DeviceMUSA},
		{"moore threads", DeviceMUSA}, {"intel", DeviceXPU}}
)

// DeviceOf returns what kind of device t's work ran on; CUDA where nothing says
// otherwise, for that is what most traces are of.
func DeviceOf(t *trace.Trace) string {
	if d, ok := backendDevice[t.Meta.Backend]; ok {
		return d
	}
	if t.Meta.Format == "ascend" {
		return DeviceNPU
	}
	var seen [256]bool // by category
	for _, c := range t.Slices.Cat {
		seen[c] = true
	}
	switch {
	case seen[trace.CatXPURuntime], seen[trace.CatXPUDriver], seen[trace.CatXPUSync]:
		return DeviceXPU
	case seen[trace.CatMTIARuntime], seen[trace.CatMTIACCP]:
		return DeviceMTIA
	}
	for i := range t.Tracks {
		if t.Tracks[i].Process == "Ascend Hardware" {
			return DeviceNPU
		}
	}
	if seen[trace.CatPrivateRuntime] || seen[trace.CatPrivateDriver] {
		if d := privateDevice(t); d != "" {
			return d
		}
	}
	for i := range t.Meta.Devices {
		name := strings.ToLower(t.Meta.Devices[i].Name)
		for _, s := range cardDevice {
			if strings.Contains(name, s.part) {
				return s.device
			}
		}
	}
	return DeviceCUDA
}

// privateDevice tells the devices that torch knows as PrivateUse1 apart by their calls.
func privateDevice(t *trace.Trace) string {
	for i, c := range t.Slices.Cat {
		if c != trace.CatPrivateRuntime && c != trace.CatPrivateDriver {
			continue
		}
		name := t.String(t.Slices.Name[i])
		for _, s := range prefixDevice {
			if strings.HasPrefix(name, s.prefix) {
				return s.device
			}
		}
	}
	return ""
}

// DeviceTimes yields, in order of the file, the slices to which device time belongs and
// how much, in ns: operators, or calls outside of operators, with the work that they
// launched themselves, and work that nothing in the trace launched. Together they are
// SelfDevice.
func (o *Ops) DeviceTimes() iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		for i := range o.self {
			ns := o.self[i].device
			if ns == 0 || o.kind[i] == opDevice && o.launch[i] != trace.NoParent {
				continue
			}
			if !yield(i, ns) {
				return
			}
		}
	}
}

// Work is one slice of device work, and whose it is.
type Work struct {
	Slice int
	Call  int // that launched it, -1 if the trace does not have it
	Owner int // the nearest operator around the call, the call itself if there is none; -1 without a call
}

// DeviceWork yields the device's work in order of the file.
func (o *Ops) DeviceWork() iter.Seq[Work] {
	return func(yield func(Work) bool) {
		for i, k := range o.kind {
			if k != opDevice {
				continue
			}
			w := Work{Slice: i, Call: -1, Owner: -1}
			if call := o.launch[i]; call != trace.NoParent {
				w.Call, w.Owner = int(call), int(o.owner[call])
			}
			if !yield(w) {
				return
			}
		}
	}
}
