package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Damage is a piece in the middle of a recording that could not be read. What comes
// behind it was read again from the next whole frame on.
type Damage struct {
	Offset int64  // file offset of the first byte that could not be used
	Bytes  int64  // bytes up to the next whole frame
	FromNs int64  // Unix ns: events are missing from here on at the earliest
	ToNs   int64  // Unix ns: and up to here at the latest
	Reason string // what was wrong
}

const (
	// maxDamage bounds the pieces kept apart; all beyond are counted in the last one.
	maxDamage = 256
	// maxResync bounds a frame that is looked for behind damage. Writers stay near
	// 1 MiB; bytes that only look like a frame must not make the search read far ahead.
	maxResync = 8 << 20
	// resyncBudget bounds the bytes whose checksum is computed in the search, over a
	// whole recording: a few seconds of a hostile file, far beyond a damaged one.
	resyncBudget = 1 << 30
)

// Damage returns the pieces that could not be read so far, in order; nil if there are
// none. What is missing at the end is in Cut.
func (d *Reader) Damage() []Damage { return d.damage }

// note keeps a piece of damage from offset at up to the reader's place.
func (d *Reader) note(at int64, reason string) {
	if n := len(d.damage); n == maxDamage {
		last := &d.damage[n-1]
		last.Bytes += d.off - at
		last.ToNs, last.Reason = d.last, "more places than can be told apart"
		d.gap = true
		return
	}
	d.damage = append(d.damage, Damage{Offset: at, Bytes: d.off - at, FromNs: d.last, ToNs: d.last, Reason: reason})
	d.gap = true
}

// bridged says that time ns has been reached behind the damage noted last.
func (d *Reader) bridged(ns int64) {
	if d.gap {
		last := &d.damage[len(d.damage)-1]
		last.ToNs = max(ns, last.FromNs)
		d.gap = false
	}
}

// read reads from what was put back, then from the file.
func (d *Reader) read(p []byte) (int, error) {
	n := copy(p, d.back)
	d.back = d.back[n:]
	if n == len(p) {
		return n, nil
	}
	m, err := io.ReadFull(d.r, p[n:])
	if n > 0 && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n + m, err
}

// window is what a search behind damage has read and not given up.
type window struct {
	d    *Reader
	b    []byte
	skip int64 // bytes before b since the damage
	err  error // why no more can be read; io.EOF at the end of the file
}

// fill makes b at least n bytes long, false if the file ends before.
func (w *window) fill(n int) bool {
	for len(w.b) < n && w.err == nil {
		p := len(w.b)
		step := max(n-p, 64<<10)
		w.b = append(w.b, make([]byte, step)...)
		var got int
		got, w.err = w.d.read(w.b[p:])
		w.b = w.b[:p+got]
	}
	return len(w.b) >= n
}

// whole reports whether a whole frame of a kind that follows a header begins at i.
func (w *window) whole(i int) bool {
	if !w.fill(i + frameFixed) {
		return false
	}
	if k := w.b[i]; k != FrameGeneration && k != FrameEnd {
		return false
	}
	size := int(binary.LittleEndian.Uint32(w.b[i+1:]))
	end := i + frameFixed + size + frameCRC
	if size > maxResync || !w.fill(end) || w.d.checked+int64(size) > resyncBudget {
		return false
	}
	w.d.checked += int64(size)
	sum := binary.LittleEndian.Uint32(w.b[end-frameCRC:])
	return crc32.Checksum(w.b[i:end-frameCRC], castagnoli) == sum
}

// resync goes on at the first whole frame behind offset at, where a frame did not read.
// raw is what was read of that: all of it if its checksum was wrong, else what the file
// has. It is false if no frame follows; the reader then is at the end of the file. An
// error is the disk's.
func (d *Reader) resync(at int64, raw []byte) (bool, error) {
	w := &window{d: d, b: raw}
	// The length is seldom what is damaged: the frame's own end comes first.
	if n := len(raw); n > frameFixed && w.whole(n) {
		d.place(at, w, n)
		return true, nil
	}
	for i := 1; w.fill(i + frameFixed); i++ {
		if k := w.b[i]; k != FrameGeneration && k != FrameEnd {
			continue
		}
		if w.whole(i) {
			d.place(at, w, i)
			return true, nil
		}
		if i > maxResync { // what was searched is not needed again
			w.skip += int64(i)
			w.b = append([]byte(nil), w.b[i:]...)
			i = 0
		}
	}
	d.off = at + w.skip + int64(len(w.b))
	if w.err != nil && w.err != io.EOF && w.err != io.ErrUnexpectedEOF {
		return false, fmt.Errorf("read recording: behind damage at offset %d: %w", at, w.err)
	}
	return false, nil
}

// place makes the reader go on at byte i of the window.
func (d *Reader) place(at int64, w *window, i int) {
	d.off = at + w.skip + int64(i)
	d.back = append([]byte(nil), w.b[i:]...)
}
