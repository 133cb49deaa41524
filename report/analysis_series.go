package report

import (
	"github.com/kinetoscope/kinetoscope/analysis"

	"github.com/kinetoscope/kinetoscope/units"
)

// MemorySeriesTable is every allocator's state over time; each row holds until the next of
// its rank and device.
func MemorySeriesTable(list []Ranked[analysis.MemoryReport]) *Table {
	t := &Table{Name: "timeline", Title: "Memory over time", What: "point", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "device", Title: "device", Left: true},
		{Key: "time_ns", Title: "at"},
		{Key: "allocated_bytes", Title: "allocated"},
		{Key: "reserved_bytes", Title: "reserved"},
	}}
	for i := range list {
		for k := range list[i].Value.Devices {
			d := &list[i].Value.Devices[k]
			for _, p := range d.Series {
				t.Add(
					label(list, i), Str(analysis.DeviceName(d.DeviceType, d.DeviceID)),
					since(p.TimeNs, d.Series[0].TimeNs),
					Bytes(p.Allocated), Hide(p.Reserved <= 0, Bytes(p.Reserved)),
				)
			}
		}
	}
	return t
}

// BandwidthSeriesTable is the rate of copies and fills under way over time.
func BandwidthSeriesTable(list []Ranked[analysis.MemoryBandwidth]) *Table {
	t := &Table{
		Name: "bandwidth_timeline", Title: "Copies and fills over time", What: "point",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "direction", Title: "direction", Left: true},
			{Key: "time_ns", Title: "at"},
			{Key: "gb_per_s", Title: "GB/s"},
		},
	}
	for i := range list {
		for _, d := range list[i].Value.Directions {
			for _, p := range d.Series {
				t.Add(label(list, i), Str(d.Name), since(p.TimeNs, d.Series[0].TimeNs), Num(p.Value))
			}
		}
	}
	return t
}

// QueueSeriesTable is the length of every stream's queue over time.
func QueueSeriesTable(list []Ranked[analysis.Queue]) *Table {
	t := &Table{
		Name: "queue_timeline", Title: "Queue length over time", What: "point",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "device", Title: "device"},
			{Key: "stream", Title: "stream"},
			{Key: "time_ns", Title: "at"},
			{Key: "length", Title: "length"},
		},
	}
	streams, stream := flat(list, func(v *analysis.Queue) int { return len(v.Streams) })
	of := func(i int) (int, *analysis.StreamQueue) {
		rank, i := stream(i)
		return rank, &list[rank].Value.Streams[i]
	}
	n, at := joined(streams, func(k int) int {
		_, s := of(k)
		return len(s.Series)
	})
	t.Later(n, func(i int) []Cell {
		k, i := at(i)
		rank, s := of(k)
		p := s.Series[i]
		return []Cell{label(list, rank), ID(s.Lane.Device), ID(s.Lane.Stream), since(p.TimeNs, s.Series[0].TimeNs),
			Num(p.Value)}
	})
	return t
}

// since is a point in time; a reader sees it relative to the first of its series.
func since(ns, first int64) Cell { return Cell{"+" + units.Duration(float64(ns-first)), ID(ns).Raw} }
