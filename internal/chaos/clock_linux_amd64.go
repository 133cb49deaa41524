package chaos

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A process asks for the time in code that the kernel maps into it, the vDSO. Its page
// becomes the process's own when it is written to: the wall clock of one process can be set
// with that, as an administrator sets that of a host, without a line of it in the product.

// setter is what CLOCK_REALTIME is asked of then: the system call, and so many seconds more.
//
//	8 bytes: the seconds
//	push rsi; push rdi; mov eax, 228 (clock_gettime); syscall; pop rdi; pop rsi
//	test edi, edi; jne out; mov rcx, [rip-30]; add [rsi], rcx; out: ret
var setter = []byte{
	0, 0, 0, 0, 0, 0, 0, 0,
	0x56, 0x57, 0xb8, 0xe4, 0, 0, 0, 0x0f, 0x05, 0x5f, 0x5e,
	0x85, 0xff, 0x75, 0x0a, 0x48, 0x8b, 0x0d, 0xe2, 0xff, 0xff, 0xff, 0x48, 0x01, 0x0e, 0xc3,
}

const (
	setterCode = 8 // where its code begins
	jumpSize   = 5
)

// vdso is that mapping of one process.
type vdso struct {
	base, entry, free uint64 // of the mapping, the clock's function, and unused room in it
}

// processClock is the wall clock of a process that has been made settable.
type processClock struct {
	pid int
	at  int64 // of the seconds
}

// takeClock makes the wall clock of a process settable.
func takeClock(ctx context.Context, pid int) (c *processClock, err error) {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mem.Close()) }()
	v, err := findVDSO(pid, mem)
	if err != nil {
		return nil, err
	}
	c = &processClock{pid, int64(v.free)}
	jump := make([]byte, jumpSize)
	if _, err := mem.ReadAt(jump, int64(v.entry)); err != nil {
		return nil, err
	}
	if want := jumpTo(v); bytes.Equal(jump, want) {
		return c, nil // it has been
	}
	if err := freezeOutside(ctx, pid, v.entry); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)) }()
	if _, err := mem.WriteAt(setter, int64(v.free)); err != nil {
		return nil, fmt.Errorf("write to the vDSO of process %d: %w", pid, err)
	}
	_, err = mem.WriteAt(jumpTo(v), int64(v.entry))
	return c, err
}

// jumpTo is the jump from the clock's function to the setter.
func jumpTo(v vdso) []byte {
	b := []byte{0xe9, 0, 0, 0, 0}
	binary.LittleEndian.PutUint32(b[1:],
		uint32(v.free+setterCode-v.entry-jumpSize)) //nolint:gosec // they are in one mapping
	return b
}

// set makes the clock wrong by d, which is whole seconds.
func (c *processClock) set(d time.Duration) error {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(int64(d/time.Second))) //nolint:gosec // two's complement is meant
	_, err = mem.WriteAt(b[:], c.at)
	return errors.Join(err, mem.Close())
}

// findVDSO finds the clock and room for the setter behind the image's end. The mapping's
// last bytes have that, for it is made of whole pages.
func findVDSO(pid int, mem *os.File) (v vdso, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return v, err
	}
	var end uint64
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &v.base, &end); err != nil {
				return v, err
			}
		}
	}
	if end == 0 {
		return v, fmt.Errorf("process %d has no vDSO", pid)
	}
	image := make([]byte, end-v.base)
	if _, err := mem.ReadAt(image, int64(v.base)); err != nil {
		return v, err
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return v, fmt.Errorf("vDSO: %w", err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return v, fmt.Errorf("vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			v.entry = v.base + s.Value
		}
	}
	v.free = end - uint64(len(setter)+7)&^7
	unused := bytes.Count(image[v.free-v.base:], []byte{0}) == int(end-v.free)
	if v.entry == 0 || !unused && !bytes.Equal(image[v.free-v.base+setterCode:][:len(setter)-setterCode],
		setter[setterCode:]) {
		return v, errors.New("the vDSO of this kernel has no clock_gettime, or no room")
	}
	return v, nil
}

// freezeOutside stops a process at a moment when no thread of it is about to run the bytes
// that will be written over.
func freezeOutside(ctx context.Context, pid int, entry uint64) error {
	return until(ctx, requestTimeout, "a process to be elsewhere than in its clock", func() bool {
		if syscall.Kill(pid, syscall.SIGSTOP) != nil {
			return false
		}
		stopped := until(ctx, requestTimeout, "a process to stop",
			func() bool { return everyThread(pid, threadStopped) })
		if stopped == nil && everyThread(pid, func(dir string) bool { return threadElsewhere(dir, entry) }) {
			return true
		}
		_ = syscall.Kill(pid, syscall.SIGCONT)
		return false
	})
}

func everyThread(pid int, ok func(dir string) bool) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, dir := range threads {
		if !ok(dir) {
			return false
		}
	}
	return true
}

func threadStopped(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	_, state, ok := strings.Cut(string(b), ") ")
	return err == nil && ok && strings.HasPrefix(state, "T")
}

// threadElsewhere reads a stopped thread's program counter, the last field of its syscall.
func threadElsewhere(dir string, entry uint64) bool {
	b, err := os.ReadFile(filepath.Join(dir, "syscall"))
	fields := strings.Fields(string(b))
	if err != nil || len(fields) == 0 {
		return false
	}
	var pc uint64
	if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &pc); err != nil {
		return false
	}
	return pc < entry || pc >= entry+jumpSize
}

// setBy is by how much a clock is set: too much for drift or a slow message.
const setBy = time.Hour

// setClock sets a rank's wall clock, forward or back.
func setClock(ctx context.Context, t target) (func() error, error) {
	v, err := victims(ctx, t, 1)
	if err != nil {
		return nil, err
	}
	c, err := takeClock(ctx, v[0].PID)
	if err != nil {
		return nil, fmt.Errorf("set the clock of process %d: %w", v[0].PID, err)
	}
	by := setBy
	if t.rnd.IntN(2) == 0 {
		by = -by
	}
	return func() error { return c.set(0) }, c.set(by)
}

// clockNeeds tests, on a process of its own, whether the vDSO of another process can be written to.
func clockNeeds() error {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", cmd.Process.Pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	v, err := findVDSO(cmd.Process.Pid, mem)
	if err == nil {
		_, err = mem.WriteAt(setter, int64(v.free)) //nolint:gosec // an address
	}
	if err = errors.Join(err, mem.Close()); err != nil {
		return fmt.Errorf("the clock of one process cannot be set here: %w", err)
	}
	return nil
}
