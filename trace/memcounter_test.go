package trace

import "testing"

func TestMemoryCounter(t *testing.T) {
	for _, m := range []MemoryCounter{
		{false, 0, -1}, {true, 0, -1}, {false, 1, 0}, {true, 1, 7}, {false, 6, 1},
		{true, 12, 0}, {false, 99, 3}, {true, 0, 2},
	} {
		if got, ok := ParseMemoryCounter(m.Name()); !ok || got != m {
			t.Errorf("%q: %+v, %t, want %+v", m.Name(), got, ok, m)
		}
	}
	for _, name := range []string{"memory", "memory allocated ", "memory allocated GPU", "memory allocated GPU x",
		"memory reserved in all", "memory allocated GPU 00", "memory allocatedGPU 0 1",
		"memory allocated type-1 0", "memory allocated 1 0"} {
		if m, ok := ParseMemoryCounter(name); ok {
			t.Errorf("%q: %+v", name, m)
		}
	}
}
