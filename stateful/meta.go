package stateful

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pondage/pondage/stateful/window"
)

// meta is what a task knows of itself besides the user's state. It is one entry,
// written with every commit, so that a position, its effects and its outputs
// can never come apart.
type meta struct {
	incarnation uint64
	nextRow     uint64 // sequence of the next output, from 1
	watermark   int64
	advanced    int64  // up to here all that was due has fired; less than watermark in the middle of an advance (T3)
	fired       Firing // the last firing of such an advance
	flushing    bool   // the advance was caused by silence
	inputs      []inputMeta
	published   map[string]Published // by sink
	dedup       []dedupGen
	timers      int64 // how many there are, or more; negative: not known
}

type inputMeta struct {
	topic   string
	pos     Position
	maxTime int64 // highest event time seen
	state   window.InputState
}

// metaVersion 1 had neither flags nor states of inputs, 1 and 2 kept no published rows, 1 to 3 counted no timers and
// did not say when marks were made.
const metaVersion = 4

const flagFlushing = 1

// append encodes m: the version, then varints, strings as length and bytes.
func (m *meta) append(b []byte) []byte {
	b = append(b, metaVersion)
	b = binary.AppendUvarint(b, m.incarnation)
	b = binary.AppendUvarint(b, m.nextRow)
	b = binary.AppendVarint(b, m.watermark)
	b = binary.AppendVarint(b, m.advanced)
	b = binary.AppendVarint(b, m.fired.Time)
	b = append(b, m.fired.Kind)
	b = appendString(b, m.fired.Key)
	var flags byte
	if m.flushing {
		flags |= flagFlushing
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(m.inputs)))
	for i := range m.inputs {
		in := &m.inputs[i]
		b = appendString(b, in.topic)
		b = appendString(b, in.pos.Log)
		b = binary.AppendVarint(b, in.pos.Offset)
		b = binary.AppendVarint(b, in.maxTime)
		b = append(b, byte(in.state))
	}
	b = binary.AppendUvarint(b, uint64(len(m.published)))
	if len(m.published) > 0 {
		for _, sink := range sortedKeys(m.published) {
			b = appendString(b, sink)
			p := m.published[sink]
			b = binary.AppendUvarint(b, p.Seq)
			b = binary.AppendUvarint(b, p.Trim)
			b = binary.AppendUvarint(b, p.Refused)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.dedup)))
	for _, g := range m.dedup {
		b = binary.AppendVarint(b, g.index)
		b = binary.AppendUvarint(b, g.count)
		b = binary.AppendVarint(b, g.since)
		b = binary.AppendVarint(b, g.until)
	}
	return binary.AppendVarint(b, m.timers)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errShort = errors.New("it ends too early")

// reader decodes what append wrote; the first fault sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.b, r.err = nil, err
	}
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.err = errShort
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.err = nil, errShort
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.err = nil, errShort
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.b, r.err = nil, errShort
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// nullable reads what appendNullable wrote.
func (r *reader) nullable() []byte {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n--; n > uint64(len(r.b)) {
		r.b, r.err = nil, errShort
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

// count reads a number of elements, each at least size bytes long.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.b, r.err = nil, errShort
		return 0
	}
	return int(n)
}

func (r *reader) end(what string) error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes follow its end", len(r.b))
	}
	if r.err != nil {
		return fmt.Errorf("%s cannot be read: %w; restore the state from a copy", what, r.err)
	}
	return nil
}

func parseMeta(b []byte) (meta, error) {
	r := &reader{b: b}
	v := r.byte()
	if v == 0 || v > metaVersion {
		return meta{}, fmt.Errorf("the task's own entry has format %d, this program knows 1 to %d: use the program that wrote it, or a newer one", v, metaVersion)
	}
	var m meta
	m.incarnation, m.nextRow = r.uvarint(), r.uvarint()
	m.watermark, m.advanced = r.varint(), r.varint()
	m.fired = Firing{Time: r.varint(), Kind: r.byte(), Key: r.string()}
	if v > 1 {
		flags := r.byte()
		if flags&^flagFlushing != 0 {
			r.fail(fmt.Errorf("it has flags %x", flags))
		}
		m.flushing = flags&flagFlushing != 0
	}
	m.inputs = make([]inputMeta, r.count(4))
	for i := range m.inputs {
		in := &m.inputs[i]
		*in = inputMeta{topic: r.string(), pos: Position{Log: r.string(), Offset: r.varint()}, maxTime: r.varint()}
		if v > 1 {
			in.state = window.InputState(r.byte())
		}
		if in.state > window.Lagging {
			r.fail(fmt.Errorf("input %q is in state %d", in.topic, in.state))
		}
	}
	n := r.count(2)
	m.published = make(map[string]Published, n)
	for range n {
		sink, p := r.string(), Published{Seq: r.uvarint()}
		if p.Trim = p.Seq; v > 2 {
			p.Trim, p.Refused = r.uvarint(), r.uvarint()
		}
		m.published[sink] = p
	}
	m.dedup = make([]dedupGen, r.count(2))
	for i := range m.dedup {
		m.dedup[i] = dedupGen{index: r.varint(), count: r.uvarint(), since: unknownTime, until: unknownTime}
		if v > 3 {
			m.dedup[i].since, m.dedup[i].until = r.varint(), r.varint()
		}
	}
	if m.timers = -1; v > 3 {
		m.timers = r.varint()
	}
	return m, r.end("the task's own entry")
}

// rowVersion 1 did not tell a key or payload that is nil from an empty one.
const rowVersion = 2

// appendRow encodes a row without its sequence, which is its key.
func appendRow(b []byte, row *Row) []byte {
	b = append(b, rowVersion)
	b = appendString(b, row.Topic)
	b = binary.AppendVarint(b, row.Time)
	b = appendNullable(appendNullable(b, row.Key), row.Payload)
	b = binary.AppendUvarint(b, uint64(len(row.Headers)))
	for _, h := range row.Headers {
		b = appendString(appendString(b, h.Key), h.Value)
	}
	return b
}

// appendNullable appends 0 for nil, else the length + 1 and the bytes.
func appendNullable(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

// parseRow decodes a row that shares no memory with b.
func parseRow(key string, b []byte) (Row, error) {
	if len(key) != 9 {
		return Row{}, fmt.Errorf("outbox row %x cannot be read: its key has %d bytes", key, len(key))
	}
	r := &reader{b: slices.Clone(b)}
	v := r.byte()
	if v < 1 || v > rowVersion {
		return Row{}, fmt.Errorf("an outbox row has format %d, this program knows %d: use the program that wrote it, or a newer one", v, rowVersion)
	}
	row := Row{Seq: uint64(ParseOrdered(key[1:])), Topic: r.string(), Time: r.varint()}
	if v == 1 {
		row.Key, row.Payload = r.bytes(), r.bytes()
	} else {
		row.Key, row.Payload = r.nullable(), r.nullable()
	}
	for range r.count(2) {
		row.Headers = append(row.Headers, Header{Key: r.string(), Value: r.string()})
	}
	return row, r.end(fmt.Sprintf("outbox row %d", row.Seq))
}

const rowKeySize = len(spaceRow) + 8

func rowKey(seq uint64) string {
	var b [rowKeySize]byte
	return string(appendRowKey(b[:0], seq))
}

func appendRowKey(b []byte, seq uint64) []byte {
	return AppendOrdered(append(b, spaceRow...), int64(seq))
}

func preparedKey(p Prepared) string {
	return spacePrepared + string(AppendOrdered(nil, int64(p.Seq))) + p.Sink
}

func parsePrepared(e Entry) (Prepared, error) {
	k, ok := strings.CutPrefix(e.Key, spacePrepared)
	if !ok || len(k) < 8 {
		return Prepared{}, fmt.Errorf("prepared handle %x cannot be read", e.Key)
	}
	return Prepared{Sink: k[8:], Seq: uint64(ParseOrdered(k)), Handle: slices.Clone(e.Value)}, nil
}

// after returns the first key behind all that begin with prefix's last byte.
func after(prefix string) string {
	return prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1)
}
