// Package proton reads what Proton, the profiler of Triton, writes, which vLLM can run
// instead of torch's: hatchet files (package-level Read) and Chrome traces (Is and Classify, for
// the reader of Chrome JSON).
//
// A hatchet file is a JSON list of a tree and of the devices' properties, or the same in
// MessagePack:
//
//	[{"frame": {"name", "type"}, "metrics": {"time (ns)", "count", "device_id", "device_type", …},
//	  "children": […]}, {"CUDA": {"0": {"arch", "num_sms", "clock_rate", "memory_clock_rate", "bus_width"}}}]
//
// The tree has sums and no times; package sums draws them. A frame with "time (ns)" is a
// kernel with the sum of its launches; "cpu_time (ns)" is the host's time of a scope without
// that of the scopes in it. All metrics are arguments of their frame.
//
// A Chrome trace has one process with the threads "CPU Thread N" (scopes and the user's
// metrics), "GPU Stream N" (kernels) and "Graph: Stream N" (scopes of a graph's capture,
// where its kernels ran), and arrows "launch->kernel" from a launch to its first kernel.
// Which device a stream is of the file does not say: it is taken for device 0. Times count
// from the first event.
//
// The definitions are TreeData.cpp and Dump/ChromeTrace.cpp of third_party/proton in
// https://github.com/triton-lang/triton.
package proton
