package perfetto

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"google.golang.org/protobuf/encoding/protowire"
)

// blockSize is how many bytes of packets are compressed at a time. Larger blocks pack
// hardly better; Perfetto's readers hold one unpacked.
const blockSize = 512 << 10

// Packing is how hard packets are compressed: a level of deflate.
type Packing int

const (
	// Small makes a file about as large as the .json.gz that it comes from, or smaller.
	Small Packing = 6
	// Fast makes it a fifth larger and saves a tenth of what writing takes: for files that a capture waits for.
	Fast Packing = zlib.BestSpeed
)

// packer compresses packets in blocks, each a TracePacket.compressed_packets, several at a
// time and in order. It belongs to its Writer; close ends its goroutines.
type packer struct {
	w     io.Writer
	level Packing
	block []byte
	queue chan chan packed // in order; its capacity bounds the blocks in work
	done  chan error       // of the goroutine that writes
	free  chan []byte      // blocks to use again
	zips  sync.Pool        // *zlib.Writer, whose tables are larger than a block
}

type packed struct {
	bytes []byte
	block []byte
	err   error
}

func newPacker(w io.Writer, workers int, level Packing) *packer {
	p := &packer{w: w, level: level, queue: make(chan chan packed, workers), done: make(chan error, 1),
		free: make(chan []byte, workers+1)}
	go p.write()
	return p
}

// add takes one packet with its tag.
func (p *packer) add(tag, body []byte) {
	if len(p.block)+len(tag)+len(body) > blockSize && len(p.block) > 0 {
		p.flush()
	}
	p.block = append(append(p.block, tag...), body...)
}

func (p *packer) flush() {
	result := make(chan packed, 1)
	block := p.block
	p.queue <- result
	go func() { result <- p.compress(block) }()
	select {
	case p.block = <-p.free:
		p.block = p.block[:0]
	default:
		p.block = nil
	}
}

// write writes the blocks in order. After an error it only empties the queue.
func (p *packer) write() {
	var failed error
	for result := range p.queue {
		r := <-result
		if failed == nil {
			failed = r.err
		}
		if failed == nil {
			_, failed = p.w.Write(r.bytes)
		}
		select {
		case p.free <- r.block:
		default:
		}
	}
	p.done <- failed
}

func (p *packer) close() error {
	if len(p.block) > 0 {
		p.flush()
	}
	close(p.queue)
	return <-p.done
}

// compress returns the packet that holds the block's packets.
func (p *packer) compress(block []byte) packed {
	var b bytes.Buffer
	z, ok := p.zips.Get().(*zlib.Writer)
	var err error
	if ok {
		z.Reset(&b)
	} else {
		z, err = zlib.NewWriterLevel(&b, int(p.level))
	}
	if err == nil {
		_, err = z.Write(block)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return packed{err: fmt.Errorf("compress packets: %w", err), block: block}
	}
	p.zips.Put(z)
	inner := appendMessage(nil, fieldCompressedPackets, b.Bytes())
	out := protowire.AppendTag(make([]byte, 0, len(inner)+8), fieldTracePacket, protowire.BytesType)
	return packed{bytes: protowire.AppendBytes(out, inner), block: block}
}
