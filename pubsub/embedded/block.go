package embedded

import (
	"encoding/binary"
	"fmt"

	"github.com/pondage/pondage/stateful"
)

const blockHeader = 1 + 4 + 8 + 4

// A block is closed at whichever comes first: small enough that cutting a batch
// inside one costs little, large enough that Pebble's cost per key vanishes.
const (
	blockRecords = 256
	blockBytes   = 16 << 10
)

// builder makes the blocks of one partition in one append. Its memory is used again.
type builder struct {
	buf   []byte // finished blocks, then the open one without its headers
	hdr   []byte // headers of the open block
	ends  []blockEnd
	open  int // where the open block begins in buf
	count int // of records in the open block
	total int // of records in all
	now   int64
}

type blockEnd struct{ end, count int }

func (b *builder) reset(now int64) {
	b.buf, b.hdr, b.ends = b.buf[:0], b.hdr[:0], b.ends[:0]
	b.open, b.count, b.total, b.now = 0, 0, 0, now
}

func (b *builder) add(key, value []byte, headers []stateful.Header, time int64) {
	if b.count == 0 {
		b.buf = append(b.buf, version, 0, 0, 0, 0)
		b.buf = be.AppendUint64(b.buf, uint64(b.now))
		b.buf = append(b.buf, 0, 0, 0, 0)
	}
	b.buf = appendBytes(b.buf, key)
	b.buf = appendBytes(b.buf, value)
	if time == stateful.NoTime {
		time = b.now
	}
	b.buf = binary.AppendVarint(b.buf, time-b.now)
	b.buf = binary.AppendUvarint(b.buf, uint64(len(headers)))
	for _, h := range headers {
		b.hdr = binary.AppendUvarint(b.hdr, uint64(len(h.Key)))
		b.hdr = append(b.hdr, h.Key...)
		b.hdr = binary.AppendUvarint(b.hdr, uint64(len(h.Value)))
		b.hdr = append(b.hdr, h.Value...)
	}
	b.count++
	b.total++
	if b.count == blockRecords || len(b.buf)-b.open+len(b.hdr) >= blockBytes {
		b.finish()
	}
}

// finish closes the open block, if there is one.
func (b *builder) finish() {
	if b.count == 0 {
		return
	}
	head := b.buf[b.open:]
	be.PutUint32(head[1:], uint32(b.count))
	be.PutUint32(head[13:], uint32(len(head)-blockHeader))
	b.buf = append(b.buf, b.hdr...)
	b.ends = append(b.ends, blockEnd{len(b.buf), b.count})
	b.open, b.count, b.hdr = len(b.buf), 0, b.hdr[:0]
}

// appendBytes keeps nil apart from empty.
func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(v))+1)
	return append(b, v...)
}

// blockInfo is what a block says of itself.
type blockInfo struct {
	count    int
	appended int64
	records  []byte
	headers  []byte
}

func parseBlock(v []byte) (blockInfo, error) {
	if len(v) > 0 && v[0] > version {
		return blockInfo{}, fmt.Errorf("%w: block has version %d, this program reads up to %d: use a newer one", errFormat, v[0], version)
	}
	if len(v) < blockHeader || v[0] != version {
		return blockInfo{}, fmt.Errorf("%w: block of %d bytes without a header", errFormat, len(v))
	}
	count, length := uint64(be.Uint32(v[1:])), uint64(be.Uint32(v[13:]))
	body := v[blockHeader:]
	// A record takes four bytes at least, which bounds what a damaged count can ask for.
	if length > uint64(len(body)) || count == 0 || count*4 > length {
		return blockInfo{}, fmt.Errorf("%w: block of %d bytes says it has %d records in %d bytes", errFormat, len(v), count, length)
	}
	return blockInfo{
		count: int(count), appended: int64(be.Uint64(v[5:])),
		records: body[:length], headers: body[length:],
	}, nil
}

// decodeBlock appends to dst the records of v from number skip on, at most limit. base is
// the offset of the block's first record. The records refer to v.
func decodeBlock(dst *batchBuffer, v []byte, base int64, skip, limit int) error {
	info, err := parseBlock(v)
	if err != nil {
		return err
	}
	d := decoder{b: info.records, h: info.headers, appended: info.appended}
	for i := range min(info.count, skip+limit) {
		rec := stateful.Record{Offset: base + int64(i)}
		d.record(dst, &rec)
		if d.bad {
			return fmt.Errorf("%w: record %d of a block is cut short", errFormat, i)
		}
		if i >= skip {
			dst.records = append(dst.records, rec)
		}
	}
	return nil
}

type decoder struct {
	b        []byte // records not yet decoded
	h        []byte // headers not yet decoded
	text     string // the same as h, made at the first header of a block
	appended int64
	bad      bool
}

func (d *decoder) record(dst *batchBuffer, rec *stateful.Record) {
	rec.Key = d.bytes()
	rec.Value = d.bytes()
	delta, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return
	}
	d.b = d.b[n:]
	rec.Time = d.appended + delta
	headers := d.uvarint()
	if headers == 0 || d.bad {
		return
	}
	// Two length bytes at least for each.
	if headers > uint64(len(d.h)) {
		d.bad = true
		return
	}
	if d.text == "" {
		// Strings must not change when the buffer is used again: one copy per block.
		d.text = string(d.h)
	}
	first := len(dst.headers)
	for range headers {
		h := stateful.Header{Key: d.headerText(), Value: d.headerText()}
		if d.bad {
			return
		}
		dst.headers = append(dst.headers, h)
	}
	rec.Headers = dst.headers[first:len(dst.headers):len(dst.headers)]
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n == 0 || d.bad {
		return nil
	}
	n--
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) headerText() string {
	v, n := binary.Uvarint(d.h)
	if n <= 0 || v > uint64(len(d.h)-n) {
		d.bad = true
		return ""
	}
	at := len(d.text) - len(d.h) + n
	d.h = d.h[n+int(v):]
	return d.text[at : at+int(v)]
}
