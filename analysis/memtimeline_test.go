package analysis

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

// mem adds an allocation or a free at µs; total < 0 leaves the total out, addr < 0 the address.
func (m *maker) mem(track trace.TrackID, at float64, typ, id, addr, bytes, total int64) {
	args := fmt.Sprintf(`{"Device Type": %d, "Device Id": %d, "Bytes": %d`, typ, id, bytes)
	if addr >= 0 {
		args += fmt.Sprintf(`, "Addr": %d`, addr)
	}
	if total >= 0 {
		args += fmt.Sprintf(`, "Total Allocated": %d`, total)
	}
	m.tr.AddInstant(int64(at*1000), trace.NameMemory, trace.CatCPUInstant, track, []byte(args+"}"))
}

func (m *maker) region(name string, start, dur float64) {
	m.slice(m.host, trace.CatUserAnnotation, name, start, dur, "")
}

// course prints a device's points: time in µs, total, and what holds it.
func course(d *DeviceTimeline) []string {
	var out []string
	for k, at := range d.TimesNs {
		s := fmt.Sprintf("%d: %d", at/1000, d.TotalBytes[k])
		for _, c := range d.Categories {
			if c.Bytes[k] != 0 {
				s += fmt.Sprintf(" %s %d", c.HeldBy, c.Bytes[k])
			}
		}
		out = append(out, s)
	}
	return out
}

// wantSound checks what holds for every course.
func wantSound(t interface{ Errorf(string, ...any) }, d *DeviceTimeline) {
	most := int64(-1)
	for k := range d.TimesNs {
		sum := int64(0)
		for _, c := range d.Categories {
			if c.Bytes[k] < 0 {
				t.Errorf("%s: point %d: %s holds %d", d.Device, k, c.HeldBy, c.Bytes[k])
			}
			sum += c.Bytes[k]
		}
		if sum != d.TotalBytes[k] {
			t.Errorf("%s: point %d: categories add up to %d, the total is %d", d.Device, k, sum, d.TotalBytes[k])
		}
		if k > 0 && d.TimesNs[k] < d.TimesNs[k-1] {
			t.Errorf("%s: point %d goes back in time", d.Device, k)
		}
		if d.TotalBytes[k] > most {
			most = d.TotalBytes[k]
			if most == d.Peak.Bytes && d.TimesNs[k] != d.Peak.TimeNs {
				t.Errorf("%s: the peak is first at %d, not at %d", d.Device, d.TimesNs[k], d.Peak.TimeNs)
			}
		}
	}
	if most != d.Peak.Bytes {
		t.Errorf("%s: the largest point is %d, the peak %d", d.Device, most, d.Peak.Bytes)
	}
	if end := d.TotalBytes[len(d.TotalBytes)-1]; end != d.EndBytes ||
		end != d.BaseBytes+d.AllocatedBytes-d.FreedBytes+d.UnexplainedBytes {
		t.Errorf("%s: ends with %d; %d + %d - %d + %d, said to be %d", d.Device, end, d.BaseBytes, d.AllocatedBytes,
			d.FreedBytes, d.UnexplainedBytes, d.EndBytes)
	}
	atPeak := int64(0)
	for _, c := range d.Categories {
		atPeak += c.AtPeakBytes
		if c.MaxBytes < c.AtPeakBytes || c.MaxBytes < c.EndBytes {
			t.Errorf("%s: %s held at most %d, at the peak %d, at the end %d", d.Device, c.HeldBy, c.MaxBytes,
				c.AtPeakBytes, c.EndBytes)
		}
	}
	if atPeak != d.Peak.Bytes {
		t.Errorf("%s: categories at the peak add up to %d of %d", d.Device, atPeak, d.Peak.Bytes)
	}
	if len(d.TimesNs) > maxTimelinePoints || len(d.Peak.Allocations) > maxPeakRows || len(d.Peak.ByOp) > maxPeakRows {
		t.Errorf("%s: %d points, %d and %d rows", d.Device, len(d.TimesNs), len(d.Peak.Allocations), len(d.Peak.ByOp))
	}
}

func TestHeldMemory(t *testing.T) {
	m := newMaker()
	m.tr.Meta.WindowStart, m.tr.Meta.WindowEnd = 0, 1_000_000
	m.region(trace.NameTextEncode, 100, 100)
	m.region(trace.NameDenoiseStep, 300, 200)
	m.op("aten::conv2d", 310, 100)
	m.region(trace.NameVAEDecode, 600, 100)
	m.mem(m.host, 50, 1, 0, 1, 64, 1064)    // 1000 were there
	m.mem(m.host, 150, 1, 0, 2, 200, 1264)  // text_encode
	m.mem(m.host, 320, 1, 0, 3, 500, 1764)  // in an operator of denoise_step
	m.mem(m.aux, 330, 1, 0, 4, 7, 1771)     // another thread: no region
	m.mem(m.host, 420, 1, 0, 2, -200, 1571) // freed elsewhere than allocated
	m.mem(m.host, 450, 1, 0, 99, -300, 1271)
	m.mem(m.host, 650, 1, 0, 5, 10, 1281)
	m.mem(m.host, 660, 1, 0, 6, 10, 1391) // 100 more that nobody recorded
	m.mem(m.host, 670, 0, -1, 7, 5, 5)
	got := HeldMemory(m.tr, Options{})
	if len(got.Devices) != 2 || got.Devices[0].Device != "CUDA 0" || got.Devices[1].Device != "CPU" ||
		got.SpanNs != 1_000_000 {
		t.Fatalf("%+v", got)
	}
	d := &got.Devices[0]
	wantSound(t, d)
	wantSound(t, &got.Devices[1])
	if diff := cmp.Diff([]string{
		"0: 1000 before 1000",
		"50: 1064 before 1000 other 64",
		"150: 1264 before 1000 text_encode 200 other 64",
		"320: 1764 before 1000 text_encode 200 denoise_step 500 other 64",
		"330: 1771 before 1000 text_encode 200 denoise_step 500 other 71",
		"420: 1571 before 1000 denoise_step 500 other 71",
		"450: 1271 before 700 denoise_step 500 other 71",
		"650: 1281 before 700 denoise_step 500 vae_decode 10 other 71",
		"660: 1391 before 700 denoise_step 500 vae_decode 20 other 71 unknown 100",
	}, course(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(MemoryPeak{Bytes: 1771, TimeNs: 330_000, Region: HeldOther, LiveBytes: 771, LiveCount: 4,
		Allocations: []LiveAllocation{
			{Bytes: 500, TimeNs: 320_000, Addr: "0x3", Op: "aten::conv2d", Region: HeldDenoiseStep},
			{Bytes: 200, TimeNs: 150_000, Addr: "0x2", Op: "text_encode", Region: HeldTextEncode},
			{Bytes: 64, TimeNs: 50_000, Addr: "0x1", Region: HeldOther},
			{Bytes: 7, TimeNs: 330_000, Addr: "0x4", Region: HeldOther},
		},
		ByOp: []LiveByOp{
			{Op: "aten::conv2d", Region: HeldDenoiseStep, Bytes: 500, Count: 1},
			{Op: "text_encode", Region: HeldTextEncode, Bytes: 200, Count: 1},
			{Region: HeldOther, Bytes: 71, Count: 2},
		}}, d.Peak); diff != "" {
		t.Errorf("peak (-want +got):\n%s", diff)
	}
	want(t, "unexplained", d.UnexplainedBytes, 100)
	if diff := cmp.Diff([]MemoryPhase{{HeldTextEncode, 100_000, 200_000, 1}, {HeldDenoiseStep, 300_000, 500_000, 1},
		{HeldVAEDecode, 600_000, 700_000, 1}}, got.Phases); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
}

// TestHeldMemoryOfNative: what a native rank reports as held when its recording begins
// was there before, and its frees take from that.
func TestHeldMemoryOfNative(t *testing.T) {
	m := newMaker()
	m.region(trace.NameMemoryHeld, 10, 10)
	m.region(trace.NameDecodeStep, 30, 10)
	m.mem(m.host, 11, 0, -1, 1, 100, 100)
	m.mem(m.host, 12, 0, -1, 2, 50, 150)
	m.mem(m.host, 31, 0, -1, 3, 20, 170)
	m.mem(m.host, 35, 0, -1, 2, -50, 120)
	got := HeldMemory(m.tr, Options{})
	d := &got.Devices[0]
	wantSound(t, d)
	if diff := cmp.Diff([]string{"0: 150 before 150", "20: 170 before 150 decode_step 20",
		"24: 120 before 100 decode_step 20"}, course(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want(t, "allocated", d.AllocatedBytes, 20)
	r := Memory(m.tr, Options{}).Devices[0]
	if r.BaseBytes != 150 || r.AllocatedBytes != 20 || r.Allocs != 1 ||
		r.EndBytes != r.BaseBytes+r.AllocatedBytes-r.FreedBytes {
		t.Errorf("Memory says %+v", r)
	}
}

// TestHeldMemoryOdd gives what broken and old traces hold.
func TestHeldMemoryOdd(t *testing.T) {
	for name, c := range map[string]struct {
		events [][3]int64 // addr, bytes, total
		want   []string
	}{
		"no totals": {[][3]int64{{1, 10, -1}, {9, -30, -1}, {2, 5, -1}},
			[]string{"0: 20 before 20", "0: 30 before 20 other 10", "1: 0", "2: 5 other 5"}},
		"no addresses": {[][3]int64{{-1, 10, 110}, {-1, -50, 60}, {-1, 5, 65}},
			[]string{"0: 100 unknown 100", "0: 110 unknown 110", "1: 60 unknown 60", "2: 65 unknown 65"}},
		"neither": {[][3]int64{{-1, -4, -1}, {-1, 10, -1}},
			[]string{"0: 4 unknown 4", "0: 0", "1: 10 unknown 10"}},
		"unknown free": {[][3]int64{{7, -10, 0}, {7, -10, 0}}, []string{"0: 10 before 10", "0: 0", "1: 0"}},
		"a lost free": {[][3]int64{{1, 10, 10}, {1, 20, 20}},
			[]string{"0: 0", "0: 10 other 10", "1: 20 other 20"}},
		"freed unseen": {[][3]int64{{1, 10, 10}, {2, 20, 3}}, []string{"0: 0", "0: 10 other 10", "1: 3 other 3"}},
		"before goes too": {[][3]int64{{1, 10, 60}, {2, 20, 35}},
			[]string{"0: 50 before 50", "0: 60 before 50 other 10", "1: 35 before 5 other 30"}},
		"sizes that differ": {[][3]int64{{1, 10, 10}, {1, -7, 3}},
			[]string{"0: 0", "0: 10 other 10", "1: 3 unknown 3"}},
		"not to believe": {[][3]int64{{1, 1 << 50, 1 << 50}, {2, 8, 1 << 50}, {3, -1 << 63, 0}},
			[]string{"0: 0", "0: 8 other 8"}},
		"of no bytes": {[][3]int64{{1, 0, 5}, {1, 3, 8}, {1, 0, 8}},
			[]string{"0: 5 before 5", "0: 5 before 5", "1: 8 before 5 other 3", "2: 8 before 5 other 3"}},
	} {
		m := newMaker()
		for i, e := range c.events {
			m.mem(m.host, float64(i), 1, 0, e[0], e[1], e[2])
		}
		got := HeldMemory(m.tr, Options{})
		if name == "not to believe" {
			got.Devices[0].TimesNs[0] = 0
		}
		wantSound(t, &got.Devices[0])
		if diff := cmp.Diff(c.want, course(&got.Devices[0])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	m := newMaker()
	m.op("aten::mm", 0, 10)
	m.tr.AddInstant(5, trace.NameMemory, trace.CatCPUInstant, m.host, []byte(`{"Addr": 3}`))
	m.tr.AddInstant(5, trace.NameMemory, trace.CatCPUInstant, m.host, nil)
	if got := HeldMemory(m.tr, Options{}); len(got.Devices) != 0 {
		t.Errorf("events without bytes made %+v", got.Devices)
	}
	for range maxTimelineDevices + 3 {
		m.mem(m.host, 6, 1, int64(m.tr.Slices.Len()+len(m.tr.Instants.Time)), 1, 8, 8)
	}
	if got := HeldMemory(m.tr, Options{}); len(got.Devices) != maxTimelineDevices || got.DevicesLeftOut != 3 {
		t.Errorf("%d devices, %d left out", len(got.Devices), got.DevicesLeftOut)
	}
}

// drawMemory draws events of a few addresses on two devices; consistent ones have the
// totals of an allocator that recorded everything.
func drawMemory(rt *rapid.T, consistent bool) (tr *trace.Trace, base, end map[int64]int64) {
	m := newMaker()
	for i, n := range []string{trace.NamePrefill, trace.NameDecodeStep, trace.NameVocode, "aten::mm"} {
		m.region(n, float64(rapid.IntRange(0, 60).Draw(rt, "start")), float64(5+10*i))
	}
	base, end = map[int64]int64{}, map[int64]int64{}
	type key struct{ dev, addr int64 }
	live := map[key]int64{}
	before := map[key]int64{}
	for dev := range int64(2) {
		for addr := range int64(rapid.IntRange(0, 4).Draw(rt, "before")) {
			k := key{dev, 100 + addr}
			before[k] = int64(rapid.IntRange(1, 50).Draw(rt, "bytes"))
			live[k] = before[k]
			base[dev] += before[k]
		}
		end[dev] = base[dev]
	}
	for i := range rapid.IntRange(1, 80).Draw(rt, "events") {
		k := key{int64(rapid.IntRange(0, 1).Draw(rt, "dev")),
			int64(rapid.SampledFrom([]int{1, 2, 3, 100, 101, 102, 103}).Draw(rt, "addr"))}
		bytes := int64(rapid.IntRange(1, 50).Draw(rt, "bytes"))
		if have, ok := live[k]; ok && (consistent || rapid.Bool().Draw(rt, "free")) {
			bytes = -have
			delete(live, k)
		} else {
			live[k] = bytes
		}
		end[k.dev] += bytes
		total := end[k.dev]
		if !consistent {
			total = int64(rapid.IntRange(-1, 200).Draw(rt, "total"))
			k.addr = rapid.SampledFrom([]int64{k.addr, k.addr, -1}).Draw(rt, "known")
		}
		track := rapid.SampledFrom([]trace.TrackID{m.host, m.aux}).Draw(rt, "track")
		m.mem(track, float64(i), 1, k.dev, k.addr, bytes, total)
	}
	return m.tr, base, end
}

func TestHeldMemoryAddsUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr, _, _ := drawMemory(rt, false)
		got := HeldMemory(tr, Options{})
		for i := range got.Devices {
			wantSound(rt, &got.Devices[i])
			if d := Memory(tr, Options{}).Devices; len(d) != len(got.Devices) {
				rt.Errorf("Memory knows %d devices, HeldMemory %d", len(d), len(got.Devices))
			}
		}
	})
}

func TestHeldMemoryOfWholeRecording(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr, base, end := drawMemory(rt, true)
		got := HeldMemory(tr, Options{})
		for i := range got.Devices {
			d := &got.Devices[i]
			wantSound(rt, d)
			if d.BaseBytes != base[d.DeviceID] || d.EndBytes != end[d.DeviceID] || d.UnexplainedBytes != 0 {
				rt.Errorf("%s: from %d to %d with %d unexplained, want %d to %d", d.Device, d.BaseBytes, d.EndBytes,
					d.UnexplainedBytes, base[d.DeviceID], end[d.DeviceID])
			}
			live := int64(0)
			for _, c := range d.Categories {
				switch c.HeldBy {
				case HeldUnknown:
					rt.Errorf("%s: %d unknown although everything was recorded", d.Device, c.MaxBytes)
				case HeldBefore:
				default:
					live += c.AtPeakBytes
				}
			}
			if live != d.Peak.LiveBytes {
				rt.Errorf("%s: %d held at the peak by categories, %d by allocations", d.Device, live, d.Peak.LiveBytes)
			}
			for _, r := range Memory(tr, Options{}).Devices {
				if r.DeviceID == d.DeviceID && (r.PeakBytes != d.Peak.Bytes || r.BaseBytes != d.BaseBytes ||
					r.EndBytes != d.EndBytes) {
					rt.Errorf("Memory says %+v, HeldMemory %+v", r, d)
				}
			}
		}
	})
}

func TestReducer(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(3, 12).Draw(rt, "limit")
		n := rapid.IntRange(1, 60).Draw(rt, "points")
		span := int64(rapid.SampledFrom([]int64{0, 1, 50, 1 << 40, 1<<63 - 1}).Draw(rt, "span"))
		r := newReducer(n, span, limit)
		at, most, last := int64(0), int64(-1), heldPoint{}
		added := map[int64]bool{}
		for range n {
			at = rapid.Int64Range(at, at+min(span-at, span/8+1)).Draw(rt, "at")
			last = heldPoint{at: at, total: int64(rapid.IntRange(0, 9).Draw(rt, "total"))}
			last.held[HeldOther] = last.total
			r.add(last.at, last.total, last.held)
			most, added[last.total] = max(most, last.total), true
		}
		kept := r.points()
		if len(kept) > max(limit, min(n, limit)) {
			rt.Errorf("%d points of %d kept, at most %d wanted", len(kept), n, limit)
		}
		if (r.reduction() != nil) != (n > limit) {
			rt.Errorf("%d points, limit %d: %+v", n, limit, r.reduction())
		}
		keptMost := int64(-1)
		for k, p := range kept {
			keptMost = max(keptMost, p.total)
			if !added[p.total] || k > 0 && p.at < kept[k-1].at {
				rt.Errorf("point %d is %+v", k, p)
			}
		}
		if keptMost != most || kept[len(kept)-1].total != last.total {
			rt.Errorf("kept a peak of %d and an end of %d, want %d and %d", keptMost, kept[len(kept)-1].total, most,
				last.total)
		}
	})
}

// manyAllocations is a trace of n events: buffers of two sizes, a few of them held for long.
func manyAllocations(n int) *trace.Trace {
	m := newMaker()
	rnd := rand.New(rand.NewPCG(1, 2))
	held := map[int64]int64{}
	total := int64(1 << 30)
	for i := range n {
		if i%100 == 0 {
			m.region([]string{trace.NamePrefill, trace.NameDecodeStep}[i/100%2], float64(i), 99)
			m.op("aten::mm", float64(i), 50)
		}
		addr := rnd.Int64N(400)
		bytes := -held[addr]
		if bytes == 0 {
			bytes = 512 << rnd.IntN(12)
		}
		held[addr] += bytes
		total += bytes
		m.mem(m.host, float64(i)+0.5, 1, 0, addr+1, bytes, total)
	}
	return m.tr
}

func TestHeldMemoryIsBounded(t *testing.T) {
	tr := manyAllocations(50_000)
	d := HeldMemory(tr, Options{})
	wantSound(t, &d.Devices[0])
	if r := d.Devices[0].Reduced; r == nil || r.Events != 50_001 || r.Method != "bucket_peak" || r.BucketNs <= 0 {
		t.Errorf("reduced: %+v", r)
	}
	if want := Memory(tr, Options{}).Devices[0]; d.Devices[0].Peak.Bytes != want.PeakBytes ||
		d.Devices[0].Peak.TimeNs+d.StartNs != want.PeakTimeNs {
		t.Errorf("the peak is %d at %d, want %d at %d", d.Devices[0].Peak.Bytes, d.Devices[0].Peak.TimeNs+d.StartNs,
			want.PeakBytes, want.PeakTimeNs)
	}
	if len(d.Phases) > maxPhases+1 {
		t.Errorf("%d phases", len(d.Phases))
	}
	b, err := json.Marshal(d)
	if err != nil || len(b) > 1<<20 {
		t.Errorf("%d bytes of JSON, %v", len(b), err)
	}
	var back MemoryTimeline
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back); diff != "" {
		t.Errorf("through JSON (-want +got):\n%s", diff)
	}
}

// FuzzHeldMemory makes events of any bytes: ten an event.
func FuzzHeldMemory(f *testing.F) {
	f.Add([]byte("0123456789abcdefghij"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := newMaker()
		m.region(trace.NameMemoryHeld, 0, 2)
		m.region(trace.NameDecodeStep, 3, 2)
		for ; len(raw) >= 10; raw = raw[10:] {
			v := int64(binary.LittleEndian.Uint64(raw))
			at := v
			if raw[8]&1 == 0 {
				at = int64(raw[9]) * 100
			}
			m.tr.AddInstant(at, trace.NameMemory, trace.CatCPUInstant, m.host,
				fmt.Appendf(nil, `{"Device Id": %d, "Addr": %d, "Bytes": %d, "Total Allocated": %d}`,
					raw[9]>>6, raw[9]&7, v>>(raw[8]>>2), v>>(raw[8]&63)))
		}
		got := HeldMemory(m.tr, Options{})
		for i := range got.Devices {
			wantSound(t, &got.Devices[i])
		}
		Memory(m.tr, Options{})
		HeldMemory(m.tr, Options{Window: &Window{StartNs: 100, EndNs: 50}})
	})
}

func BenchmarkHeldMemory(b *testing.B) {
	const n = 200_000
	tr := manyAllocations(n)
	b.ReportAllocs()
	for b.Loop() {
		HeldMemory(tr, Options{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
}
