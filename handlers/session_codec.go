package handlers

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/pondage/pondage/stateful"
)

// The flags of a stored session.
const (
	flagEnded = 1 << iota
	flagPane  // its number follows
	flagOlder // older sessions of the key follow
	flagKept  // what is kept for the trigger follows

	knownFlags = 1<<iota - 1
)

// sessionCodec stores sessions: the fields, then the value as it is stored everywhere.
type sessionCodec[A any] struct{ value *stateful.StateCodec[A] }

func (c sessionCodec[A]) Append(b []byte, s *session[A], _ int64) ([]byte, error) {
	b = stateful.AppendValueHeader(b, stateful.ValueHeader{Codec: stateful.CodecBinary})
	b = append(b, s.flags())
	return c.append(b, s)
}

func (s *session[A]) flags() (f byte) {
	if s.ended {
		f |= flagEnded
	}
	if s.pane > 0 {
		f |= flagPane
	}
	if s.kept != nil {
		f |= flagKept
	}
	return f
}

func (c sessionCodec[A]) append(b []byte, s *session[A]) ([]byte, error) {
	if s.pane > 0 {
		b = binary.AppendUvarint(b, uint64(s.pane))
	}
	if s.kept != nil {
		var err error
		if b, err = c.appendKept(b, s.kept); err != nil {
			return nil, err
		}
	}
	return c.value.Append(b, &s.value, stateful.NoExpiry)
}

func (c sessionCodec[A]) Decode(b []byte, s *session[A]) (int64, error) {
	r, flags, err := readSession(b, knownFlags&^flagOlder)
	if err == nil {
		err = c.decode(r, flags, s)
	}
	return stateful.NoExpiry, err
}

// readSession begins to read what the codecs here wrote.
func readSession(b []byte, known byte) (r *numbers, flags byte, err error) {
	h, b, err := stateful.ParseValueHeader(b)
	if err != nil {
		return nil, 0, stateful.TaskFault(err)
	}
	if h.Codec != stateful.CodecBinary || h.Schema != 1 || h.Expiry != stateful.NoExpiry || len(b) == 0 || b[0]&^known != 0 {
		return nil, 0, stateful.TaskFault(errors.New("it is no session, or one that a newer program wrote: use that program"))
	}
	return &numbers{b: b[1:]}, b[0], nil
}

func (c sessionCodec[A]) decode(r *numbers, flags byte, s *session[A]) error {
	s.ended, s.pane = flags&flagEnded != 0, 0
	if flags&flagPane != 0 {
		s.pane = uint32(r.uvarint(math.MaxUint32))
	}
	s.kept = nil
	if flags&flagKept != 0 {
		s.kept = new(kept[A])
		if err := c.decodeKept(r, s.kept); err != nil {
			return err
		}
	}
	if r.bad {
		return errSessionDamaged
	}
	_, err := c.value.Decode(r.b, &s.value)
	return err
}

// What of a stored kept is set, or follows.
const (
	keptChanged = 1 << iota
	keptEmpty
	keptLast // the length of its bytes, and they
	keptN
	keptEventAt
	keptClockAt

	knownKept = 1<<iota - 1
)

func (c sessionCodec[A]) appendKept(b []byte, k *kept[A]) ([]byte, error) {
	var flags byte
	for _, f := range []struct {
		flag byte
		set  bool
	}{
		{keptChanged, k.changed},
		{keptEmpty, k.empty},
		{keptLast, k.stands},
		{keptN, k.n != 0},
		{keptEventAt, k.eventAt != unset},
		{keptClockAt, k.clockAt != unset},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	b = append(b, flags)
	if k.n != 0 {
		b = binary.AppendUvarint(b, k.n)
	}
	for _, t := range []int64{k.eventAt, k.clockAt} {
		if t != unset {
			b = binary.AppendVarint(b, t)
		}
	}
	if !k.stands {
		return b, nil
	}
	last, err := c.value.Append(nil, &k.last, stateful.NoExpiry)
	if err != nil {
		return nil, err
	}
	return append(binary.AppendUvarint(b, uint64(len(last))), last...), nil
}

func (c sessionCodec[A]) decodeKept(r *numbers, k *kept[A]) error {
	flags := r.byte()
	if flags&^byte(knownKept) != 0 {
		return errSessionDamaged
	}
	*k = kept[A]{changed: flags&keptChanged != 0, empty: flags&keptEmpty != 0, stands: flags&keptLast != 0, wakes: asleep}
	if flags&keptN != 0 {
		k.n = r.uvarint(math.MaxUint64)
	}
	if flags&keptEventAt != 0 {
		k.eventAt = r.varint()
	}
	if flags&keptClockAt != 0 {
		k.clockAt = r.varint()
	}
	if !k.stands {
		return nil
	}
	last := r.bytes()
	if r.bad {
		return errSessionDamaged
	}
	_, err := c.value.Decode(last, &k.last)
	return err
}

var errSessionDamaged = stateful.TaskFault(errors.New("it is no session: the stored state is damaged"))

// keySessionsCodec stores the sessions of a key.
type keySessionsCodec[A any] struct{ sessionCodec[A] }

func (c keySessionsCodec[A]) Append(b []byte, k *keySessions[A], _ int64) ([]byte, error) {
	b = stateful.AppendValueHeader(b, stateful.ValueHeader{Codec: stateful.CodecBinary})
	flags, older := k.flags(), k.older()
	if len(older) > 0 {
		flags |= flagOlder
	}
	b = append(b, flags)
	b = binary.AppendVarint(b, k.End)
	b = binary.AppendUvarint(b, uint64(k.End-k.Start))
	b = binary.AppendVarint(b, k.End-k.look)
	if len(older) > 0 {
		b = binary.AppendUvarint(b, uint64(len(older)))
		before := k.Start
		for _, o := range slices.Backward(older) { // each as how long it lies before the one after it
			var flags byte
			if o.ended {
				flags |= flagEnded
			}
			b = append(b, flags)
			b = binary.AppendUvarint(b, uint64(before-o.End))
			b = binary.AppendUvarint(b, uint64(o.End-o.Start))
			b = binary.AppendUvarint(b, uint64(o.id))
			before = o.Start
		}
	}
	return c.append(b, &k.session)
}

func (c keySessionsCodec[A]) Decode(b []byte, k *keySessions[A]) (int64, error) {
	r, flags, err := readSession(b, knownFlags)
	if err != nil {
		return 0, err
	}
	k.End = r.varint()
	k.Start = k.End - int64(r.uvarint(math.MaxInt64))
	k.look = k.End - r.varint()
	k.before = nil
	if flags&flagOlder != 0 {
		older := readOlder(r, k.Start)
		k.before = &older
	}
	return stateful.NoExpiry, c.decode(r, flags, &k.session)
}

// readOlder reads the sessions before one that begins at start.
func readOlder(r *numbers, start int64) []olderSession {
	const least = 4 // bytes of one
	older := make([]olderSession, r.uvarint(uint64(len(r.b)/least)))
	r.bad = r.bad || len(older) == 0
	for i := range slices.Backward(older) {
		o := &older[i]
		o.ended = r.byte() == flagEnded
		o.End = start - int64(r.uvarint(math.MaxInt64))
		o.Start = o.End - int64(r.uvarint(math.MaxInt64))
		o.id = uint32(r.uvarint(math.MaxUint32))
		start = o.Start
	}
	return older
}

// dueKeys are some entries of the due index.
type dueKeys []dueKey

// dueKey says that something of key may be due at a time, and nothing before.
type dueKey struct {
	at  int64
	key string
}

// AppendBinary implements [encoding.BinaryAppender]: of each key the time, as a varint and from the second on as
// the difference to the one before, then its length and itself.
func (d *dueKeys) AppendBinary(b []byte) ([]byte, error) {
	last := int64(0)
	for i := range *d {
		e := &(*d)[i]
		b = binary.AppendVarint(b, e.at-last)
		b = append(binary.AppendUvarint(b, uint64(len(e.key))), e.key...)
		last = e.at
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (d *dueKeys) UnmarshalBinary(b []byte) error {
	r, keys := numbers{b: b}, string(b)
	*d = make(dueKeys, 0, dueChunk)
	last := int64(0)
	for len(r.b) > 0 && !r.bad {
		last += r.varint()
		n := len(r.bytes())
		to := len(keys) - len(r.b)
		*d = append(*d, dueKey{last, keys[to-n : to]})
	}
	if r.bad {
		return errors.New("it is no part of the due index: the stored state is damaged")
	}
	return nil
}

func (r *numbers) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// bytes reads a length and as many bytes, which share the reader's memory.
func (r *numbers) bytes() []byte {
	n := r.uvarint(uint64(len(r.b)))
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}
