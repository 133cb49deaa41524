package analysis

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestFindings(t *testing.T) {
	m := newMaker()
	m.tr.Meta.Stage = "thinker"
	m.tr.Meta.Devices = []trace.Device{{ID: 0, TotalMemory: 1000}}
	m.launched(m.s7, "gemm", 0, 20, 25, 10)
	m.launched(m.s7, "gemm", 95, 4, 100, 10) // 65 of 85 us idle, waiting for the host
	m.slice(m.s20, trace.CatKernel, "ncclDevKernel_AllReduce", 102, 18, "")
	m.tr.AddInstant(50_000, trace.NameMemory, trace.CatCPUInstant, m.host,
		[]byte(`{"Device Type": 1, "Device Id": 0, "Bytes": 100, "Addr": 5, "Total Allocated": 900, "Total Reserved": 950}`))
	got := All([]*trace.Trace{m.tr}, Options{}).Findings
	texts := map[string]Finding{}
	for _, f := range got {
		for _, key := range []string{"was idle", "without compute", "at its peak", "shorter"} {
			if strings.Contains(f.Text, key) {
				texts[key] = f
			}
		}
		if !strings.HasPrefix(f.Text, "thinker rank 0: ") {
			t.Errorf("%q does not say whose it is", f.Text)
		}
	}
	idle := texts["was idle"]
	wantNear(t, "idle", idle.Number, 100*65.0/95)
	want(t, "critical", idle.Severity, Critical)
	want(t, "evidence is the gap", idle.Evidence.EndNs-idle.Evidence.StartNs, 65_000)
	if !strings.Contains(idle.Text, "the host to launch") {
		t.Errorf("%q names no cause", idle.Text)
	}
	wantNear(t, "exposed", texts["without compute"].Number, 100*10.0/95)
	wantNear(t, "memory", texts["at its peak"].Number, 95)
	want(t, "first", got[0].Severity, Critical)
	raw, err := json.Marshal(got[0])
	if err != nil {
		t.Fatal(err)
	}
	var back Finding
	if err := json.Unmarshal(raw, &back); err != nil || back != got[0] {
		t.Errorf("%s: got %+v back: %v", raw, back, err)
	}
	if json.Unmarshal([]byte(`{"severity": "loud"}`), &back) == nil {
		t.Error("an unknown severity was read")
	}
}
