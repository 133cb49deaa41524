package kinetod

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
	"github.com/kinetoscope/kinetoscope/protocol"
)

func TestDecode(t *testing.T) {
	good := kinetodtest.Request("req", 3, 42, 70, 60, 1)
	kind, payload, err := decodeFrame(good)
	if err != nil || kind != "req" {
		t.Fatalf("%q, %v", kind, err)
	}
	p, err := decodePoll(payload)
	if err != nil || !p.idle || p.job != 42 || p.pid != 70 || !slices.Equal(p.ancestors, []int{60, 1}) {
		t.Fatalf("%+v, %v", p, err)
	}
	if p, err := decodePoll(kinetodtest.Request("req", 1, 0, 7)[headerBytes:]); err != nil || p.idle {
		t.Errorf("a busy process: %+v, %v", p, err)
	}
	pids := func(n int32) []byte {
		b := bytes.Clone(good[headerBytes:])
		binary.NativeEndian.PutUint32(b[4:], uint32(n))
		return b
	}
	for name, bad := range map[string][]byte{
		"none": nil, "short": good[headerBytes : headerBytes+8], "no pids": pids(0), "too many": pids(1 << 29),
		"negative": pids(-1),
		"fewer":    pids(2), "half a pid": good[headerBytes : len(good)-2],
		"pid 0": kinetodtest.Request("req", 2, 0, 0)[headerBytes:],
	} {
		if p, err := decodePoll(bad); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for name, bad := range map[string][]byte{"empty": {}, "short": good[:39], "longer": append(bytes.Clone(good), 0),
		"shorter": good[:len(good)-1]} {
		if _, _, err := decodeFrame(bad); err == nil {
			t.Errorf("frame %s is read", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(kinetodtest.Request("req", 2, 0, 1, 2))
	f.Add(kinetodtest.Request("ctxt", 0, 0, 1))
	f.Add([]byte("req"))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, payload, err := decodeFrame(b)
		if err != nil {
			return
		}
		if p, err := decodePoll(payload); err == nil {
			again := kinetodtest.Request(kind, 0, p.job, append([]int{p.pid}, p.ancestors...)...)
			if !bytes.Equal(again[headerBytes+4:], payload[4:]) {
				t.Errorf("%x is read as %+v", b, p)
			}
		}
		if len(kind) < kindBytes {
			if k, p, err := decodeFrame(encodeFrame(kind, payload)); err != nil || k != kind ||
				!bytes.Equal(p, payload) {
				t.Errorf("%q comes back as %q, %v", kind, k, err)
			}
		}
	})
}

func TestRequestText(t *testing.T) {
	cfg := protocol.DefaultProfilerConfig()
	cfg.RecordShapes, cfg.Activities = true, []string{"cpu", "CUDA"}
	r := request{file: "/tmp/a/trace.json", start: time.UnixMilli(1_700_000_000_123), duration: 1500 * time.Millisecond,
		warmup: time.Second, traceID: "01X", cfg: cfg}
	got, err := r.text()
	const want = `ACTIVITIES_LOG_FILE=/tmp/a/trace.json
PROFILE_START_TIME=1700000000123
ACTIVITIES_DURATION_MSECS=1500
ACTIVITIES_WARMUP_PERIOD_SECS=1
PROFILE_REPORT_INPUT_SHAPES=true
PROFILE_PROFILE_MEMORY=false
PROFILE_WITH_STACK=true
PROFILE_WITH_FLOPS=false
REQUEST_TRACE_ID=01X
ACTIVITY_TYPES=cpu_op,user_annotation,cpu_instant_event,python_function,overhead,gpu_user_annotation,gpu_memcpy,gpu_memset,kernel,external_correlation,cuda_runtime,cuda_driver,cuda_sync
`
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	if got := traceFile(r.file, 7); got != "/tmp/a/trace_7.json" {
		t.Error(got)
	}
	r.cfg.Activities = []string{"NPU"}
	if _, err := r.text(); err == nil || !strings.Contains(err.Error(), `"NPU"`) {
		t.Errorf("an unknown device: %v", err)
	}
	for _, bad := range []string{"", "trace.json", "/tmp/trace", "/tmp/a=b/trace.json", "/tmp/#/trace.json",
		"/tmp/a.json/trace.json", "/tmp/../trace.json", "/tmp/\n.json", "/tmp/x.json "} {
		if err := checkFile(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
