package parquet

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/kinetoscope/kinetoscope/trace/table"
)

const (
	// pageRows is the most rows of a page, which is what engines unpack at a time; RowGroup is a multiple of it.
	pageRows = 16 << 10
	// pageText is the length of text, in bytes, after which a page ends.
	pageText = 1 << 20
)

// lengthsRoom is more than the lengths of a page's texts take: 4 bytes each, 9 for every 128 of them, and a header.
const lengthsRoom = 5 * pageRows

// chunk is one column of a row group, encoded.
type chunk struct {
	pages      []byte
	dictionary int // bytes of pages that are the dictionary
	meta       format.ColumnMetaData
}

// encoder makes chunks of one row group after the other. Its chunks and buffers are used again for the next.
type encoder struct {
	zstd   *zstd.Encoder
	chunks []chunk

	defined []byte // of a page's rows, 1 where there is a value
	ints    []int64
	text    []byte // lengthsRoom bytes, then a page's texts
	lengths []int32
	codes   []int32
	encoded []byte
	packed  []byte
	words   dictionary
}

func newEncoder() (*encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	return &encoder{zstd: z}, nil
}

// group encodes the rows of s into e.chunks.
func (e *encoder) group(ctx context.Context, s span) error {
	if len(e.chunks) != len(s.part.Columns) {
		e.chunks = make([]chunk, len(s.part.Columns))
	}
	for k := range e.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, col := &e.chunks[k], &s.part.Columns[k]
		*c = chunk{pages: c.pages[:0], meta: format.ColumnMetaData{
			Type: physical(col.Type), Codec: format.Zstd, NumValues: int64(s.to - s.from)}}
		var err error
		switch {
		case col.Type == table.Int64:
			err = e.integers(c, col, s)
		case col.Type == table.Float64:
			err = e.floats(c, col, s)
		case col.Few:
			err = e.few(c, col, s)
		default:
			err = e.texts(c, col, s)
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", col.Name, err)
		}
	}
	return nil
}

// pagesOf calls page for the rows of each page in order.
func pagesOf(s span, page func(from, to int) error) error {
	for from := s.from; from < s.to; from += pageRows {
		if err := page(from, min(s.to, from+pageRows)); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) integers(c *chunk, col *table.Column, s span) error {
	least, most, some := int64(math.MaxInt64), int64(math.MinInt64), false
	err := pagesOf(s, func(from, to int) error {
		e.defined, e.ints = e.defined[:0], e.ints[:0]
		for i := from; i < to; i++ {
			v, ok := col.Int(i)
			if !ok {
				e.defined = append(e.defined, 0)
				continue
			}
			e.defined = append(e.defined, 1)
			e.ints = append(e.ints, v)
			least, most, some = min(least, v), max(most, v), true
		}
		var err error
		e.encoded, err = new(delta.BinaryPackedEncoding).EncodeInt64(e.encoded, e.ints)
		if err != nil {
			return err
		}
		return e.page(c, format.DeltaBinaryPacked, len(e.ints), e.encoded)
	})
	if some {
		c.bounds(binary.LittleEndian.AppendUint64(nil, uint64(least)),
			binary.LittleEndian.AppendUint64(nil, uint64(most)))
	}
	return err
}

func (e *encoder) floats(c *chunk, col *table.Column, s span) error {
	return pagesOf(s, func(from, to int) error {
		e.defined, e.encoded = e.defined[:0], e.encoded[:0]
		for i := from; i < to; i++ {
			v, ok := col.Float(i)
			if !ok {
				e.defined = append(e.defined, 0)
				continue
			}
			e.defined = append(e.defined, 1)
			e.encoded = binary.LittleEndian.AppendUint64(e.encoded, math.Float64bits(v))
		}
		return e.page(c, format.Plain, len(e.encoded)/8, e.encoded)
	})
}

// texts encodes text of which much differs.
func (e *encoder) texts(c *chunk, col *table.Column, s span) error {
	for from := s.from; from < s.to; {
		if len(e.text) < lengthsRoom {
			e.text = make([]byte, lengthsRoom)
		}
		e.defined, e.text, e.lengths = e.defined[:0], e.text[:lengthsRoom], e.lengths[:0]
		to := min(s.to, from+pageRows)
		for ; from < to && len(e.text) < lengthsRoom+pageText; from++ {
			begin := len(e.text)
			ok := false
			if col.Append != nil {
				e.text = col.Append(e.text, from)
				ok = len(e.text) > begin
			} else if v, there := col.Text(from); there {
				e.text, ok = append(e.text, v...), true
			}
			if !ok {
				e.defined = append(e.defined, 0)
				continue
			}
			e.defined = append(e.defined, 1)
			if len(e.text) > math.MaxInt32 {
				return fmt.Errorf("row %d: a text of %d bytes is more than a page holds", from, len(e.text))
			}
			e.lengths = append(e.lengths, int32(len(e.text)-begin))
		}
		var err error
		if e.encoded, err = new(delta.BinaryPackedEncoding).EncodeInt32(e.encoded, e.lengths); err != nil {
			return err
		}
		// The lengths stand before the text, which need not be copied for them.
		body := e.text[lengthsRoom-len(e.encoded):]
		copy(body, e.encoded)
		if err := e.page(c, format.DeltaLengthByteArray, len(e.lengths), body); err != nil {
			return err
		}
	}
	return nil
}

// few encodes text of which few differ: a page with them, and pages of their numbers.
func (e *encoder) few(c *chunk, col *table.Column, s span) error {
	words := &e.words
	words.reset(col)
	e.defined, e.codes = e.defined[:0], e.codes[:0]
	for i := s.from; i < s.to; i++ {
		code, ok := words.code(col, i)
		if !ok {
			e.defined = append(e.defined, 0)
			continue
		}
		e.defined = append(e.defined, 1)
		e.codes = append(e.codes, code)
	}
	if words.texts.Len() == 0 {
		// A chunk of nulls alone needs no dictionary, and some readers stumble over an empty one.
		all := e.defined
		err := pagesOf(s, func(from, to int) error {
			e.defined = all[from-s.from : to-s.from]
			return e.page(c, format.Plain, 0, nil)
		})
		e.defined = all
		return err
	}
	if err := e.dictionary(c, words.texts.Keys()); err != nil {
		return err
	}
	defined, codes := e.defined, e.codes
	err := pagesOf(s, func(from, to int) error {
		e.defined = defined[from-s.from : to-s.from]
		n := 0
		for _, d := range e.defined {
			n += int(d)
		}
		var err error
		if e.encoded, err = new(rle.DictionaryEncoding).EncodeInt32(e.encoded, codes[:n]); err != nil {
			return err
		}
		codes = codes[n:]
		return e.page(c, format.RLEDictionary, n, e.encoded)
	})
	e.defined = defined
	return err
}

// dictionary appends the page with the words.
func (e *encoder) dictionary(c *chunk, words []string) error {
	least, most := words[0], words[0]
	e.encoded = e.encoded[:0]
	for _, w := range words {
		e.encoded = append(binary.LittleEndian.AppendUint32(e.encoded, uint32(len(w))), w...)
		least, most = min(least, w), max(most, w)
	}
	e.packed = e.zstd.EncodeAll(e.encoded, e.packed[:0])
	h := format.PageHeader{
		Type: format.DictionaryPage, UncompressedPageSize: int32(len(e.encoded)),
		CompressedPageSize: int32(len(e.packed)),
		DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(len(words)),
			Encoding: format.Plain}),
	}
	if err := c.add(&h, format.Plain, nil, e.packed); err != nil {
		return err
	}
	c.dictionary = len(c.pages)
	c.bounds([]byte(least), []byte(most))
	return nil
}

// page appends a page of the rows of e.defined with n values, encoded as said.
func (e *encoder) page(c *chunk, as format.Encoding, n int, values []byte) error {
	rows := len(e.defined)
	levels := levelsOf(e.defined, n)
	body := values
	compressed := false
	if len(values) > 0 {
		e.packed = e.zstd.EncodeAll(values, e.packed[:0])
		if compressed = len(e.packed) < len(values); compressed {
			body = e.packed
		}
	}
	h := format.PageHeader{
		Type: format.DataPageV2, UncompressedPageSize: int32(len(levels) + len(values)),
		CompressedPageSize: int32(len(levels) + len(body)),
		DataPageHeaderV2: thrift.New(format.DataPageHeaderV2{
			NumValues: int32(rows), NumNulls: int32(rows - n), NumRows: int32(rows), Encoding: as,
			DefinitionLevelsByteLength: int32(len(levels)), IsCompressed: thrift.New(compressed),
		}),
	}
	c.meta.Statistics.NullCount += int64(rows - n)
	return c.add(&h, as, levels, body)
}

// levelsOf returns the definition levels of rows of which n have a value.
func levelsOf(defined []byte, n int) []byte {
	if n == 0 || n == len(defined) { // one run
		b := binary.AppendUvarint(nil, uint64(len(defined))<<1)
		return append(b, byte(min(n, 1)))
	}
	// The error is of a width that is none.
	b, _ := (&rle.Encoding{BitWidth: 1}).EncodeLevels(nil, defined)
	return b
}

// add appends a page.
func (c *chunk) add(h *format.PageHeader, as format.Encoding, levels, body []byte) error {
	head, err := thrift.Marshal(new(thrift.CompactProtocol), h)
	if err != nil {
		return err
	}
	c.meta.TotalUncompressedSize += int64(len(head)) + int64(h.UncompressedPageSize)
	c.pages = append(append(append(c.pages, head...), levels...), body...)
	for _, known := range c.meta.Encoding {
		if known == as {
			return nil
		}
	}
	c.meta.Encoding = append(c.meta.Encoding, as)
	return nil
}

// bounds sets the least and the greatest value of the chunk.
func (c *chunk) bounds(least, most []byte) {
	c.meta.Statistics.MinValue, c.meta.Statistics.MaxValue = least, most
}
