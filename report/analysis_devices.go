package report

import "github.com/kinetoscope/kinetoscope/analysis"

// DeviceTable is each device's part of the span, where a rank works on several.
func DeviceTable(list []Ranked[analysis.Temporal]) *Table {
	t := &Table{
		Name: "by_device", Title: "Device by device", What: "device",
		Note: "of the span from first to last work of any",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "device", Title: "device"},
			{Key: "busy_ns", Title: "busy"},
			{Key: "busy_share", Title: "%"},
			{Key: "idle_ns", Title: "idle"},
			{Key: "device_slices", Title: "kernels and copies"},
		},
	}
	for i := range list {
		v := &list[i].Value
		if len(v.Devices) < 2 {
			continue
		}
		for _, d := range v.Devices {
			t.Add(label(list, i), ID(d.Device), Ns(d.BusyNs), Share(d.BusyShare), Ns(v.SpanNs-d.BusyNs), Int(d.Slices))
		}
	}
	return t
}
