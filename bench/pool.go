package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"unsafe"

	"github.com/pondage/pondage/stateful"
)

const (
	eventBytes = 100
	partitions = 8
	perMilli   = 100           // events per millisecond of event time: 100 K/s
	epoch      = 1767225600000 // 2026-01-01T00:00:00Z, the first event's time
)

// event is what both sides decode.
type event struct {
	At     int64  `json:"at"` // milliseconds since 1970 UTC
	User   string `json:"user"`
	Amount int64  `json:"amount"`
}

// pool holds prepared events of eventBytes each, spread over partitions by murmur2
// of their key and ordered by time. It covers span milliseconds; the n-th time
// round, n times that is added.
type pool struct {
	json  bool
	mem   []byte
	parts []poolPart
	span  int64
	slow  int64 // times as long as it was made for
}

// slowed makes event time pass so many times faster: the events of a second become those of n. It must not be
// filled from before.
func (p *pool) slowed(n int64) *pool {
	p.slow, p.span = n, p.span*n
	return p
}

type poolPart struct {
	events []byte
	at     []int32 // time of each event, from the pool's begin
}

// The layout of a binary event: time, amount, length of the key, key, padding.
const (
	binAmount = 8
	binKeyLen = 16
	binKey    = 17
)

// jsonTime is where the 13 digits of the time are in a JSON event.
const jsonTime = len(`{"at":`)

func newPool(events, keys int, asJSON bool) (*pool, error) {
	rng := rand.New(rand.NewPCG(1, uint64(keys)))
	return newPoolOf(events, keys, asJSON, func(int) int { return rng.IntN(keys) })
}

// newPoolOf is newPool with the number of each event's key.
func newPoolOf(events, keys int, asJSON bool, keyOf func(i int) int) (*pool, error) {
	partOf := make([]uint8, keys)
	for k := range partOf {
		partOf[k] = uint8(stateful.Murmur2Partitioner(keyName(nil, k), partitions))
	}
	of := make([]int32, events)
	var sizes [partitions]int
	for i := range of {
		of[i] = int32(keyOf(i))
		sizes[partOf[of[i]]]++
	}
	mem, err := offHeap(events * eventBytes)
	if err != nil {
		return nil, fmt.Errorf("allocate %d events: %w", events, err)
	}
	p := &pool{json: asJSON, mem: mem, parts: make([]poolPart, partitions), span: int64(events / perMilli), slow: 1}
	for i := range p.parts {
		n := sizes[i] * eventBytes
		p.parts[i] = poolPart{events: mem[:0:n], at: make([]int32, 0, sizes[i])}
		mem = mem[n:]
	}
	var key []byte
	for i, k := range of {
		part := &p.parts[partOf[k]]
		n := len(part.events)
		part.events = part.events[:n+eventBytes]
		key = keyName(key[:0], int(k))
		p.write(part.events[n:], key, int64(10_000+i%90_000))
		part.at = append(part.at, int32(i/perMilli))
	}
	return p, nil
}

func keyName(b []byte, k int) []byte { return fmt.Appendf(b, "user-%07d", k) }

func (p *pool) write(dst, key []byte, amount int64) {
	if !p.json {
		binary.LittleEndian.PutUint64(dst[binAmount:], uint64(amount))
		dst[binKeyLen] = byte(len(key))
		copy(dst[binKey:], key)
		return
	}
	b := fmt.Appendf(dst[:0], `{"at":%013d,"user":%q,"amount":%d,"page":"`, epoch, key, amount)
	for len(b) < eventBytes-2 {
		b = append(b, 'a'+byte(len(b)%26))
	}
	copy(b[len(b):eventBytes], `"}`)
}

func (p *pool) free() error { return freeOffHeap(p.mem) }

// fill makes the n events from number i of a partition on into records, which refer to
// the pool's memory. Their number counts round after round.
func (p *pool) fill(recs []stateful.Record, part int, i int64, n int) []stateful.Record {
	pt := &p.parts[part]
	size := int64(len(pt.at))
	at, shift := i%size, epoch+i/size*p.span
	for range n {
		e := pt.events[at*eventBytes : (at+1)*eventBytes : (at+1)*eventBytes]
		ms := shift + int64(pt.at[at])*p.slow
		rec := stateful.Record{Value: e, Time: ms, Offset: i}
		if p.json {
			putDigits(e[jsonTime:jsonTime+13], ms)
			rec.Key = e[jsonTime+13+9 : jsonTime+13+9+12]
		} else {
			putBinaryTime(e, ms)
			rec.Key = e[binKey : binKey+int(e[binKeyLen])]
		}
		recs = append(recs, rec)
		i++
		if at++; at == size {
			at, shift = 0, shift+p.span
		}
	}
	return recs
}

func putBinaryTime(e []byte, ms int64) { binary.LittleEndian.PutUint64(e, uint64(ms)) }

func putDigits(b []byte, n int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
}

// share returns how many of total events a partition gets: as many in each round as
// it has.
func (p *pool) share(part int, total int64) int64 {
	all := int64(len(p.mem) / eventBytes)
	own := int64(len(p.parts[part].at))
	return total/all*own + own*(total%all)/all
}

// exact returns the sum of all partitions' shares of about total events.
func (p *pool) exact(total int64) int64 {
	n := int64(0)
	for i := range p.parts {
		n += p.share(i, total)
	}
	return n
}

var errShortEvent = errors.New("event is too short")

// decodeBinary copies nothing: the event's user is the record's memory, as a Codec may
// leave it, and whoever keeps the user keeps a copy.
func decodeBinary(b []byte, e *event) error {
	if len(b) <= binKey || len(b) < binKey+int(b[binKeyLen]) {
		return errShortEvent
	}
	e.At = int64(binary.LittleEndian.Uint64(b))
	e.Amount = int64(binary.LittleEndian.Uint64(b[binAmount:]))
	e.User = unsafe.String(&b[binKey], int(b[binKeyLen]))
	return nil
}

// decodeJSON is what a handler without a codec of its own does.
var decodeJSON = stateful.Decoder[event](nil)

// binaryCodec is decodeBinary as a handler is given it.
type binaryCodec struct{}

func (binaryCodec) Decode(b []byte, v any) error { return decodeBinary(b, v.(*event)) }

func (binaryCodec) Append([]byte, any) ([]byte, error) {
	return nil, errors.New("binary events are only read")
}

func makeRecords() []stateful.Record { return make([]stateful.Record, 0, loopBatch) }
