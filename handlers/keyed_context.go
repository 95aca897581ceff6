package handlers

import (
	"context"
	"fmt"
	"time"

	"github.com/pondage/pondage/stateful"
)

// Context is what the functions of a [Keyed] work through: the key in hand, its state S, timers and
// outputs. Its Scope has the key and the transaction, and is what other states are looked up by:
//
//	n, ok, err := visits.Get(ctx, c.Scope)
//
// It is valid until the function returns, and is used by that goroutine only.
type Context[S any] struct {
	stateful.Scope

	ms    int64
	value S
	has   bool
	dirty bool

	topic  string
	encode stateful.Codec
	key    []byte
	body   []byte
}

// Get returns the state of the key and whether there is one. It must not be changed in place.
func (c *Context[S]) Get() (S, bool) { return c.value, c.has }

// Put sets the state of the key.
func (c *Context[S]) Put(s S) { c.value, c.has, c.dirty = s, true, true }

// Delete takes the state of the key away.
func (c *Context[S]) Delete() {
	var none S
	c.value, c.has, c.dirty = none, false, true
}

// Time returns when the event happened, in UTC. In OnTimer it is the timer's time.
func (c *Context[S]) Time() time.Time { return time.UnixMilli(c.ms).UTC() }

// Watermark returns the time up to which, inclusive, events are expected to have come. An event that is not after it
// is late. It moves after an event was handled; while a timer fires it is what made that due. Before
// the first event it lies before all times.
func (c *Context[S]) Watermark() time.Time { return time.UnixMilli(c.Tx.Watermark()).UTC() }

// Now returns the processor's clock, which stands still within a transaction.
func (c *Context[S]) Now() time.Time { return c.Tx.Now() }

// SetTimer has OnTimer called for this key: with [stateful.EventTime] when the watermark reaches at, with
// [stateful.ProcessingTime] when the clock does, and at once when that has passed already. Timers of one key and time
// are told apart by their kind and namespace, which may be empty; setting the same one again changes
// nothing. Parts of a millisecond are rounded up.
func (c *Context[S]) SetTimer(kind stateful.TimerKind, at time.Time, namespace string) error {
	return c.Tx.SetTimer(c.timer(kind, at, namespace))
}

// DeleteTimer removes a timer; one that is not there is not missed.
func (c *Context[S]) DeleteTimer(kind stateful.TimerKind, at time.Time, namespace string) {
	c.Tx.DeleteTimer(c.timer(kind, at, namespace))
}

func (c *Context[S]) timer(kind stateful.TimerKind, at time.Time, namespace string) stateful.Timer {
	ms := at.UnixMilli()
	if at.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return stateful.Timer{Kind: kind, Time: ms, Namespace: namespace, Key: c.Key}
}

// Emit emits v to the topic To, with the key as the message's key and Time as its time. Pass a pointer to
// save a copy. For headers, or another key, use Tx.Emit.
func (c *Context[S]) Emit(v any) error { return c.EmitTo(c.topic, v) }

// EmitTo is Emit to any topic that the handler declares.
func (c *Context[S]) EmitTo(topic string, v any) error {
	body, err := c.encode.Append(c.body[:0], v)
	if err != nil {
		return stateful.Permanent(fmt.Errorf("emit to %q: %w", topic, err))
	}
	c.body = body
	c.key = append(c.key[:0], c.Key...)
	return c.Tx.Emit(stateful.Row{Topic: topic, Key: c.key, Payload: body, Time: c.ms})
}

// keyedTask is a Keyed on one task.
type keyedTask[E, S any] struct {
	Keyed[E, S]
	t      *stateful.Task
	decode func([]byte, *E) error
	state  *stateful.Value[S]
	limit  int // of a key's bytes

	c     Context[S]
	event E
}

// timedTask is a keyedTask with timers. One without has no method OnTimer, so that none can be set.
type timedTask[E, S any] struct{ *keyedTask[E, S] }

// Instance implements [stateful.Instancer].
func (k Keyed[E, S]) Instance(_ context.Context, t *stateful.Task) (stateful.Handler, error) {
	in := &keyedTask[E, S]{
		Keyed: k, t: t, decode: stateful.Decoder[E](k.In), state: k.value(), limit: t.Limits().KeyBytes,
		c: Context[S]{topic: k.To, encode: k.Out},
	}
	if in.c.encode == nil {
		in.c.encode = stateful.DefaultCodec()
	}
	if k.OnTimer == nil {
		return in, nil
	}
	return timedTask[E, S]{in}, nil
}

// Process implements [stateful.Handler]. An event whose key is in memory allocates nothing here.
func (k *keyedTask[E, S]) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	var zero E
	k.event = zero
	if err := k.decode(rec.Value, &k.event); err != nil {
		return stateful.Permanent(err)
	}
	ts := rec.Time
	if k.Time != nil {
		ts = k.Time(k.event).UnixMilli()
	}
	if err := checkTime(ts); err != nil {
		return err
	}
	ts, err := tx.Observe(ts)
	if err != nil {
		return err
	}
	if err := k.begin(ctx, tx, k.Key(k.event), ts); err != nil {
		return err
	}
	if err := k.OnEvent(ctx, &k.c, k.event); err != nil {
		return err
	}
	return k.end(ctx)
}

// OnTimer implements [stateful.TimerHandler].
func (k timedTask[E, S]) OnTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	if err := k.begin(ctx, tx, t.Key, t.Time); err != nil {
		return err
	}
	if err := k.Keyed.OnTimer(ctx, &k.c, t); err != nil {
		return err
	}
	return k.end(ctx)
}

// begin brings the state of key into the context.
func (k *keyedTask[E, S]) begin(ctx context.Context, tx *stateful.Tx, key string, ms int64) error {
	c := &k.c
	c.Scope, c.ms, c.dirty = stateful.Scope{Tx: tx, Key: key}, ms, false
	known, err := k.state.InMemory(c.Scope)
	if err != nil {
		return err
	}
	if !known {
		if len(key) > k.limit {
			return stateful.Permanent(fmt.Errorf("Key returned %d bytes; the limit is %d (Limits.KeyBytes)", len(key), k.limit))
		}
		if err := k.t.CheckKey(key); err != nil {
			return err
		}
	}
	c.value, c.has, err = k.state.Get(ctx, c.Scope)
	return err
}

// end stores what became of it.
func (k *keyedTask[E, S]) end(ctx context.Context) error {
	c := &k.c
	switch {
	case !c.dirty:
		return nil
	case c.has:
		return k.state.Put(ctx, c.Scope, c.value)
	}
	return k.state.Delete(ctx, c.Scope)
}
