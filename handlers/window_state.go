package handlers

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/pondage/pondage/stateful/window"
)

// What of a stored windowState follows. A new version of it is another first byte.
const (
	stateChanged byte = 1 << iota
	stateEmpty
	stateStands
	stateN
	stateEventAt
	stateClockAt
	stateTimes  // of an everlasting window
	stateNumber // of one of window.Count

	stateVersion = 1
)

// AppendBinary implements [encoding.BinaryAppender].
func (s *windowState) AppendBinary(b []byte) ([]byte, error) {
	var flags byte
	for _, f := range []struct {
		flag byte
		set  bool
	}{
		{stateChanged, s.changed},
		{stateEmpty, s.empty},
		{stateStands, s.stands},
		{stateN, s.n != 0},
		{stateEventAt, s.eventAt != unset},
		{stateClockAt, s.clockAt != unset},
		{stateTimes, s.times != window.Span{} || s.given != window.Span{}},
		{stateNumber, s.have != 0 || s.before != 0},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	b = append(b, stateVersion, flags)
	b = binary.AppendUvarint(b, uint64(s.panes))
	if flags&stateN != 0 {
		b = binary.AppendUvarint(b, s.n)
	}
	if flags&stateEventAt != 0 {
		b = binary.AppendVarint(b, s.eventAt)
	}
	if flags&stateClockAt != 0 {
		b = binary.AppendVarint(b, s.clockAt)
	}
	if flags&stateTimes != 0 {
		for _, t := range []window.Span{s.times, s.given} {
			b = binary.AppendVarint(b, t.Start)
			b = binary.AppendUvarint(b, uint64(t.End-t.Start))
		}
	}
	if flags&stateNumber != 0 {
		b = binary.AppendUvarint(b, uint64(s.have))
		b = binary.AppendUvarint(b, uint64(s.before))
	}
	return b, nil
}

var errWindowState = errors.New("it is not what is kept of a window: the stored state is damaged, or a newer program wrote it")

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (s *windowState) UnmarshalBinary(b []byte) error {
	if len(b) < 2 || b[0] != stateVersion {
		return errWindowState
	}
	flags := b[1]
	r := numbers{b: b[2:]}
	*s = windowState{
		changed: flags&stateChanged != 0, empty: flags&stateEmpty != 0, stands: flags&stateStands != 0,
		panes: uint32(r.uvarint(math.MaxUint32)), eventAt: unset, clockAt: unset,
	}
	if flags&stateN != 0 {
		s.n = r.uvarint(math.MaxUint64)
	}
	if flags&stateEventAt != 0 {
		s.eventAt = r.varint()
	}
	if flags&stateClockAt != 0 {
		s.clockAt = r.varint()
	}
	if flags&stateTimes != 0 {
		for _, t := range []*window.Span{&s.times, &s.given} {
			t.Start = r.varint()
			t.End = t.Start + int64(r.uvarint(math.MaxInt64))
		}
	}
	if flags&stateNumber != 0 {
		s.have, s.before = int64(r.uvarint(math.MaxInt64)), int64(r.uvarint(math.MaxInt64))
	}
	if r.bad || len(r.b) > 0 {
		return errWindowState
	}
	return nil
}

// numbers reads varints. One that is not there, or greater than it may be, makes it bad.
type numbers struct {
	b   []byte
	bad bool
}

func (r *numbers) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *numbers) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}
