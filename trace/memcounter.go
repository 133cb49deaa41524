package trace

import (
	"strconv"
	"strings"
)

// MemoryCounter is a counter that says what an allocator holds. Formats that have counters and no single allocations,
// as Perfetto's, keep the totals of NameMemory instants so.
type MemoryCounter struct {
	Reserved bool  // what the allocator took from the device, not what it gave out
	Type, ID int64 // of the device, as in the instants: c10's code; -1 without a number
}

const (
	counterAllocated = "memory allocated"
	counterReserved  = "memory reserved"
)

// counterDevices are the words for c10's codes of devices; of others the code stands.
var counterDevices = map[int64]string{1: "GPU", 6: "HIP", 12: "XPU", 19: "MTIA", 20: "device"}

// Name returns the counter's name: "memory allocated", of the host, "memory reserved GPU 0".
func (m MemoryCounter) Name() string {
	name := counterAllocated
	if m.Reserved {
		name = counterReserved
	}
	if m.ID < 0 {
		return name
	}
	word, ok := counterDevices[m.Type]
	if !ok {
		word = "type-" + strconv.FormatInt(m.Type, 10)
	}
	return name + " " + word + " " + strconv.FormatInt(m.ID, 10)
}

// ParseMemoryCounter reads what Name returned; ok is false of other names.
func ParseMemoryCounter(name string) (m MemoryCounter, ok bool) {
	rest, ok := strings.CutPrefix(name, counterAllocated)
	if !ok {
		rest, ok = strings.CutPrefix(name, counterReserved)
		m.Reserved = true
	}
	if !ok || rest == "" {
		m.ID = -1
		return m, ok
	}
	f := strings.Split(rest, " ")
	if len(f) != 3 || f[0] != "" {
		return m, false
	}
	var err error
	if m.Type, err = strconv.ParseInt(strings.TrimPrefix(f[1], "type-"), 10, 64); err != nil {
		for code, word := range counterDevices {
			if word == f[1] {
				m.Type, err = code, nil
			}
		}
	}
	if err != nil {
		return m, false
	}
	m.ID, err = strconv.ParseInt(f[2], 10, 64)
	return m, err == nil && m.Name() == name
}
