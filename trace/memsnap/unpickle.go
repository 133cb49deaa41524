package memsnap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Limits of what Unpickle accepts.
const (
	// maxText is the longest text. Names of C++ frames reach some thousands.
	maxText = 16 << 20
	// maxStack bounds the values that wait for their container; a list adds its
	// elements in batches, so that files of any size stay far below.
	maxStack = 1 << 22
	// maxMemo bounds the memo: Python memoizes every container of a file.
	maxMemo = 1 << 28
	// maxLong is the longest integer in bytes: 64 bits and a sign.
	maxLong = 9
	// maxLine is the longest argument of the textual opcodes of protocol 0.
	maxLine = 1 << 16
)

// ErrUnsafe says that a pickle wants to name or call something. Such a file is no
// memory snapshot and may be an attack.
var ErrUnsafe = errors.New("pickle is not plain data")

// Values that Unpickle returns beside string, int64, uint64 (beyond int64), float64,
// bool and nil.
type (
	// Dict is a dict with its keys in file order; keys are any plain value.
	Dict struct{ Items []Item }
	// Item is a member of a Dict.
	Item struct{ Key, Value any }
	// List is a list. Containers are shared by pointer where the file shares them.
	List struct{ Elems []any }
	// Tuple is a tuple.
	Tuple []any
)

// Get returns the value of a text key; of several the last one, as in Python.
func (d *Dict) Get(key string) (any, bool) {
	for i := len(d.Items) - 1; i >= 0; i-- {
		if k, ok := d.Items[i].Key.(string); ok && k == key {
			return d.Items[i].Value, true
		}
	}
	return nil, false
}

// PickleError says where a pickle cannot be read.
type PickleError struct {
	Offset int64 // of the opcode
	Op     byte
	Err    error
}

// Error implements error.
func (e *PickleError) Error() string {
	return fmt.Sprintf("pickle: opcode %#x at offset %d: %v", e.Op, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *PickleError) Unwrap() error { return e.Err }

// Unpickle reads one pickle of plain data, protocols 0 to 5. It runs nothing: opcodes
// that name or call something give ErrUnsafe. Memory is bounded by the input's length
// times a constant.
func Unpickle(r io.Reader) (any, error) {
	u := &unpickler{r: bufio.NewReaderSize(r, 64<<10), memo: map[uint64]any{}}
	for {
		at := u.off
		op, err := u.byte()
		if err != nil {
			return nil, &PickleError{at, 0, fmt.Errorf("no STOP: %w", err)}
		}
		if op == opStop {
			if len(u.stack) != 1 || len(u.marks) != 0 {
				return nil, &PickleError{at, op, fmt.Errorf("%d values left, want 1", len(u.stack))}
			}
			return u.stack[0], nil
		}
		do := ops[op]
		if do == nil {
			return nil, &PickleError{at, op, fmt.Errorf("not allowed: %w", ErrUnsafe)}
		}
		if err := do(u, op); err != nil {
			return nil, &PickleError{at, op, err}
		}
		if len(u.stack) > maxStack {
			return nil, &PickleError{at, op, fmt.Errorf("more than %d values wait", maxStack)}
		}
	}
}

type unpickler struct {
	r     *bufio.Reader
	off   int64
	stack []any
	marks []int
	memo  map[uint64]any
}

var (
	errStack = errors.New("stack is too short")
	errShort = errors.New("file ends here")
	errType  = errors.New("value of the wrong type")
)

// ops are the opcodes that build plain data. Whatever is nil is refused.
var ops = [256]func(*unpickler, byte) error{
	opProto:        (*unpickler).proto,
	opFrame:        func(u *unpickler, _ byte) error { _, err := u.fixed(8); return err },
	opMark:         func(u *unpickler, _ byte) error { u.marks = append(u.marks, len(u.stack)); return u.checkMarks() },
	opPop:          (*unpickler).popOne,
	opPopMark:      func(u *unpickler, _ byte) error { _, err := u.toMark(); return err },
	opNone:         func(u *unpickler, _ byte) error { u.push(nil); return nil },
	opTrue:         func(u *unpickler, _ byte) error { u.push(true); return nil },
	opFalse:        func(u *unpickler, _ byte) error { u.push(false); return nil },
	opInt:          (*unpickler).decimal,
	opLong:         (*unpickler).decimal,
	opBinInt:       func(u *unpickler, _ byte) error { v, err := u.fixed(4); u.push(int64(int32(v))); return err },
	opBinInt1:      func(u *unpickler, _ byte) error { v, err := u.fixed(1); u.push(int64(v)); return err },
	opBinInt2:      func(u *unpickler, _ byte) error { v, err := u.fixed(2); u.push(int64(v)); return err },
	opLong1:        (*unpickler).long,
	opLong4:        (*unpickler).long,
	opBinFloat:     (*unpickler).float,
	opUnicode:      (*unpickler).unicode,
	opBinUnicode:   (*unpickler).unicode,
	opShortUnicode: (*unpickler).unicode,
	opBinUnicode8:  (*unpickler).unicode,
	opEmptyDict:    func(u *unpickler, _ byte) error { u.push(&Dict{}); return nil },
	opEmptyList:    func(u *unpickler, _ byte) error { u.push(&List{}); return nil },
	opEmptyTuple:   func(u *unpickler, _ byte) error { u.push(Tuple{}); return nil },
	opDict:         (*unpickler).build,
	opList:         (*unpickler).build,
	opTuple:        (*unpickler).build,
	opTuple1:       (*unpickler).tupleN,
	opTuple2:       (*unpickler).tupleN,
	opTuple3:       (*unpickler).tupleN,
	opAppend:       (*unpickler).extend,
	opAppends:      (*unpickler).extend,
	opSetItem:      (*unpickler).extend,
	opSetItems:     (*unpickler).extend,
	opPut:          (*unpickler).put,
	opBinPut:       (*unpickler).put,
	opLongBinPut:   (*unpickler).put,
	opMemoize:      (*unpickler).put,
	opGet:          (*unpickler).get,
	opBinGet:       (*unpickler).get,
	opLongBinGet:   (*unpickler).get,
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

func (u *unpickler) byte() (byte, error) {
	b, err := u.r.ReadByte()
	if err != nil {
		return 0, short(err)
	}
	u.off++
	return b, nil
}

func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errShort
	}
	return err
}

// fixed reads n little-endian bytes.
func (u *unpickler) fixed(n int) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(u.r, b[:n]); err != nil {
		return 0, short(err)
	}
	u.off += int64(n)
	return binary.LittleEndian.Uint64(b[:]), nil
}

// line reads the argument of a textual opcode.
func (u *unpickler) line() (string, error) {
	var b []byte
	for {
		c, err := u.byte()
		if err != nil {
			return "", err
		}
		if c == '\n' {
			return string(b), nil
		}
		if b = append(b, c); len(b) > maxLine {
			return "", fmt.Errorf("line of more than %d bytes", maxLine)
		}
	}
}

func (u *unpickler) checkMarks() error {
	if len(u.marks) > maxStack {
		return fmt.Errorf("more than %d marks", maxStack)
	}
	return nil
}

// top returns the uppermost value above the last mark.
func (u *unpickler) top() (any, error) {
	if len(u.stack) == 0 || len(u.marks) > 0 && u.marks[len(u.marks)-1] >= len(u.stack) {
		return nil, errStack
	}
	return u.stack[len(u.stack)-1], nil
}

func (u *unpickler) popOne(byte) error {
	if _, err := u.top(); err != nil {
		return err
	}
	u.stack = u.stack[:len(u.stack)-1]
	return nil
}

// toMark takes the values above the last mark; they are valid until the next push.
func (u *unpickler) toMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, errors.New("no mark")
	}
	m := u.marks[len(u.marks)-1]
	u.marks = u.marks[:len(u.marks)-1]
	vs := u.stack[m:]
	u.stack = u.stack[:m]
	return vs, nil
}

func (u *unpickler) proto(byte) error {
	v, err := u.fixed(1)
	if err == nil && v > maxReadProtocol {
		err = fmt.Errorf("protocol %d is unknown, up to %d are known", v, maxReadProtocol)
	}
	return err
}

func (u *unpickler) decimal(op byte) error {
	s, err := u.line()
	if err != nil {
		return err
	}
	switch {
	case op == opInt && s == "01":
		u.push(true)
	case op == opInt && s == "00":
		u.push(false)
	default:
		s = strings.TrimSuffix(s, "L")
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			u.push(v)
			return nil
		}
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return fmt.Errorf("integer %.40q does not fit 64 bits", s)
		}
		u.push(v)
	}
	return nil
}

// long reads a two's complement integer of n bytes.
func (u *unpickler) long(op byte) error {
	width := 1
	if op == opLong4 {
		width = 4
	}
	n, err := u.fixed(width)
	if err != nil {
		return err
	}
	if n > maxLong {
		return fmt.Errorf("integer of %d bytes, at most %d are read", n, maxLong)
	}
	var b [maxLong]byte
	if _, err := io.ReadFull(u.r, b[:n]); err != nil {
		return short(err)
	}
	u.off += int64(n)
	if n == 0 {
		u.push(int64(0))
		return nil
	}
	negative := b[n-1]&0x80 != 0
	for i := n; negative && i < maxLong; i++ {
		b[i] = 0xff
	}
	v := binary.LittleEndian.Uint64(b[:])
	switch {
	case b[8] == 0 && v <= math.MaxInt64, b[8] == 0xff && v > math.MaxInt64:
		u.push(int64(v))
	case b[8] == 0:
		u.push(v)
	default:
		return errors.New("integer does not fit 64 bits")
	}
	return nil
}

func (u *unpickler) float(byte) error {
	var b [8]byte
	if _, err := io.ReadFull(u.r, b[:]); err != nil {
		return short(err)
	}
	u.off += 8
	u.push(math.Float64frombits(binary.BigEndian.Uint64(b[:])))
	return nil
}

func (u *unpickler) unicode(op byte) error {
	width := 4
	switch op {
	case opUnicode:
		s, err := u.line()
		u.push(strings.ToValidUTF8(s, "\uFFFD"))
		return err
	case opShortUnicode:
		width = 1
	case opBinUnicode8:
		width = 8
	}
	n, err := u.fixed(width)
	if err != nil {
		return err
	}
	if n > maxText {
		return fmt.Errorf("text of %d bytes, at most %d are read", n, maxText)
	}
	var b strings.Builder
	got, err := io.CopyN(&b, u.r, int64(n)) // grows with what is there
	u.off += got
	if err != nil {
		return short(err)
	}
	u.push(strings.ToValidUTF8(b.String(), "\uFFFD"))
	return nil
}

func (u *unpickler) build(op byte) error {
	vs, err := u.toMark()
	if err != nil {
		return err
	}
	vs = append([]any(nil), vs...)
	switch op {
	case opTuple:
		u.push(Tuple(vs))
	case opList:
		u.push(&List{vs})
	default:
		d := &Dict{}
		if err := d.add(vs); err != nil {
			return err
		}
		u.push(d)
	}
	return nil
}

func (u *unpickler) tupleN(op byte) error {
	n := int(op-opTuple1) + 1
	t := make(Tuple, n)
	for i := n - 1; i >= 0; i-- {
		v, err := u.top()
		if err != nil {
			return err
		}
		t[i] = v
		u.stack = u.stack[:len(u.stack)-1]
	}
	u.push(t)
	return nil
}

// extend adds values to the container below them.
func (u *unpickler) extend(op byte) error {
	var vs []any
	var err error
	switch op {
	case opAppends, opSetItems:
		vs, err = u.toMark()
	default:
		n := 1
		if op == opSetItem {
			n = 2
		}
		if len(u.stack) < n+1 || len(u.marks) > 0 && u.marks[len(u.marks)-1] > len(u.stack)-n-1 {
			return errStack
		}
		vs = u.stack[len(u.stack)-n:]
		u.stack = u.stack[:len(u.stack)-n]
	}
	if err != nil {
		return err
	}
	to, err := u.top()
	if err != nil {
		return err
	}
	switch c := to.(type) {
	case *List:
		if op == opAppend || op == opAppends {
			c.Elems = append(c.Elems, vs...)
			return nil
		}
	case *Dict:
		if op == opSetItem || op == opSetItems {
			return c.add(vs)
		}
	}
	return errType
}

func (d *Dict) add(vs []any) error {
	if len(vs)%2 != 0 {
		return errors.New("key without value")
	}
	for i := 0; i < len(vs); i += 2 {
		switch vs[i].(type) {
		case *Dict, *List:
			return errors.New("dict or list as key")
		}
		d.Items = append(d.Items, Item{vs[i], vs[i+1]})
	}
	return nil
}

func (u *unpickler) memoID(op byte) (uint64, error) {
	switch op {
	case opPut, opGet:
		s, err := u.line()
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(s, 10, 32)
	case opMemoize:
		return uint64(len(u.memo)), nil
	case opLongBinPut, opLongBinGet:
		return u.fixed(4)
	}
	return u.fixed(1)
}

func (u *unpickler) put(op byte) error {
	id, err := u.memoID(op)
	if err != nil {
		return err
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	if len(u.memo) >= maxMemo {
		return fmt.Errorf("memo of more than %d values", maxMemo)
	}
	u.memo[id] = v
	return nil
}

func (u *unpickler) get(op byte) error {
	id, err := u.memoID(op)
	if err != nil {
		return err
	}
	v, ok := u.memo[id]
	if !ok {
		return fmt.Errorf("memo has no %d", id)
	}
	u.push(v)
	return nil
}
