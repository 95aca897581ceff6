package demo

import (
	"bytes"
	"iter"
	"strconv"

	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
)

// replay compares the beginning of a stream with what was loaded from it before. A file is
// known by its digest; a stream only by what comes out of it.
type replay struct {
	heads []*head
}

// head is the next loaded row of one partition. Each has its rows in order of lines.
type head struct {
	line  uint64
	value []byte
	ok    bool
	err   error
	next  func() (stateful.Record, error, bool)
	stop  func()
}

func newReplay(log *embedded.Log, partitions int) *replay {
	r := &replay{}
	for _, topic := range []string{topicFlights, topicDead} {
		for part := range partitions {
			h := &head{}
			h.next, h.stop = iter.Pull2(log.Read(topic, int32(part), 0))
			h.advance()
			r.heads = append(r.heads, h)
		}
	}
	return r
}

func (r *replay) close() {
	for _, h := range r.heads {
		h.stop()
	}
}

// check takes the row that was loaded from row's line.
func (r *replay) check(row *stateful.Row) error {
	for _, h := range r.heads {
		if h.err != nil {
			return h.err
		}
		if h.ok && h.line == row.Seq {
			if !bytes.Equal(h.value, row.Payload) {
				break
			}
			h.advance()
			return nil
		}
	}
	return errOtherStream(row.Seq)
}

func (h *head) advance() {
	rec, err, ok := h.next()
	h.ok, h.err, h.value = ok, err, rec.Value
	if ok && err == nil {
		text, _ := rec.Header(headerLine)
		h.line, h.err = strconv.ParseUint(text, 10, 64)
	}
}
