package opstats

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestDeviceOf(t *testing.T) {
	of := func(cat trace.Category, call string, m trace.Meta, process string) *trace.Trace {
		tr := trace.New()
		tr.Meta = m
		tr.AddSlice(trace.Slice{Name: call, Cat: cat, Track: tr.AddTrack(trace.Track{Process: process})})
		return tr
	}
	card := func(name string) trace.Meta { return trace.Meta{Devices: []trace.Device{{Name: name}}} }
	for name, c := range map[string]struct {
		t    *trace.Trace
		want string
	}{
		"nothing": {trace.New(), DeviceCUDA},
		"NVIDIA": {of(trace.CatCUDARuntime, "cudaLaunchKernel", card("NVIDIA H100 80GB HBM3"), ""),
			DeviceCUDA},
		"AMD":              {of(trace.CatCUDARuntime, "hipLaunchKernel", card("AMD Instinct MI250X"), ""), DeviceCUDA},
		"Intel":            {of(trace.CatXPURuntime, "urEnqueueKernelLaunch", trace.Meta{}, ""), DeviceXPU},
		"Intel's card":     {of(trace.CatKernel, "gemm", card("Intel(R) Data Center GPU Max 1550"), ""), DeviceXPU},
		"XCCL":             {of(trace.CatCPUOp, "aten::mm", trace.Meta{Backend: "xccl"}, ""), DeviceXPU},
		"MTIA":             {of(trace.CatMTIACCP, "job_exe", trace.Meta{}, ""), DeviceMTIA},
		"Ascend's file":    {of(trace.CatKernel, "MatMul", trace.Meta{Format: "ascend"}, ""), DeviceNPU},
		"Ascend's process": {of(trace.CatKernel, "MatMul", trace.Meta{}, "Ascend Hardware"), DeviceNPU},
		"HCCL":             {of(trace.CatCPUOp, "aten::mm", trace.Meta{Backend: "hccl"}, ""), DeviceNPU},
		"Moore Threads":    {of(trace.CatPrivateRuntime, "musaLaunchKernel", trace.Meta{}, ""), DeviceMUSA},
		"private, Ascend":  {of(trace.CatPrivateRuntime, "aclrtLaunchKernel", trace.Meta{}, ""), DeviceNPU},
		"private, unknown": {of(trace.CatPrivateRuntime, "launch", card("MTT S4000"), ""), DeviceMUSA},
	} {
		if got := DeviceOf(c.t); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestDeviceTimes(t *testing.T) {
	tr := sample()
	o := Collect(tr)
	sum := int64(0)
	got := map[string]int64{}
	for i, ns := range o.DeviceTimes() {
		got[tr.String(tr.Slices.Name[i])] += ns
		sum += ns
	}
	if len(got) != 2 || got["aten::mm"] != 400 || got["gemm"] != 70 || sum != o.SelfDevice {
		t.Errorf("%v of %d", got, o.SelfDevice)
	}
	for range o.DeviceTimes() {
		break
	}
}
