package stateful

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful/window"
)

// Task is one partition of one handler: its state, its order, its place in the
// input. Its exported methods are for instances and are called by the task's
// goroutine.
type Task struct {
	id      TaskID
	p       *Processor
	reg     *registration
	future  int64         // Limits.Future in milliseconds
	byClock bool          // Limits.FutureByClock
	turn    chan struct{} // holds one token: who has it runs the task
	tickets lane
	lease   Lease            // nil: it is owned without one
	leaving chan struct{}    // closed when the task is revoked
	ticked  *message.Message // the last tick, for the intake that sends them

	// Owned by whoever has the turn.
	open     bool
	stale    bool // memory is not what the store has: read it again
	changed  bool // there is something to commit
	checking bool // some value of the batch in hand cannot be encoded
	store    Store
	seq      uint64 // of the last commit
	tx       *Tx
	meta     meta
	schema   []SchemaPart // what is to be stored of it; nil: it is stored
	wm       *window.Watermark
	silence  *window.Silence
	instance
	publishing
	firings
	taskTimers
	expiries expiries
	setbacks
	key      []byte // memory to build a key in
	lastMark string // the key that a mark was last looked up or made under

	ahead []atomic.Bool // inputs that are held back, see Pace.MaxSkew

	commits pipeline // guards itself

	waits [waitsKinds]string // guarded by the processor's mutex
}

func newTask(p *Processor, reg *registration, partition int32) *Task {
	t := &Task{
		id:     TaskID{App: p.cfg.App, Handler: reg.name, Partition: partition},
		p:      p,
		reg:    reg,
		future: p.cfg.Limits.Future.Milliseconds(),
		turn:   make(chan struct{}, 1),

		byClock: p.cfg.Limits.FutureByClock,
		leaving: make(chan struct{}),
		silence: p.newSilence(reg),
		ahead:   make([]atomic.Bool, len(reg.handler.Inputs())),
	}
	if reg.tenure != nil && partition == 0 {
		t.lease = reg.tenure.lease()
	}
	t.turn <- struct{}{}
	t.tx = &Tx{t: t, index: make(map[string]int)}
	return t
}

// ID returns the task's identity.
func (t *Task) ID() TaskID { return t.id }

// Limits returns the processor's limits, defaults filled in.
func (t *Task) Limits() Limits { return t.p.cfg.Limits }

// KeyFrom returns the metadata key that carries the key of a message; see [Config].
func (t *Task) KeyFrom() string { return t.p.cfg.KeyFrom }

// Watermark returns the task's watermark in milliseconds since 1970 UTC.
func (t *Task) Watermark() int64 { return t.wm.Now() }

// Advanced returns the watermark up to which, inclusive, all that was due has fired. It is less than
// Watermark while something fires, and when a task is opened in the middle of that.
func (t *Task) Advanced() int64 { return t.meta.advanced }

// Latest returns the highest event time that a record was processed with, over all
// inputs, in milliseconds since 1970 UTC; window.Never when there was none.
func (t *Task) Latest() int64 {
	at := int64(window.Never)
	for i := range t.meta.inputs {
		at = max(at, t.wm.Max(i))
	}
	return at
}

// CheckKey returns an error when key does not belong to the task's partition: its
// state would be split over tasks (O4). The error stops the processor, it is
// never the record's. Instances call it once for every key they meet.
func (t *Task) CheckKey(key string) error {
	part, n := t.reg.partitioner, t.reg.partitions
	if part == nil || n < 2 {
		return nil
	}
	t.key = append(t.key[:0], key...)
	if at := part(t.key, n); at != int(t.id.Partition) {
		return &stopError{fmt.Errorf("stateful: handler %q: Key returned %q, which belongs to partition %d of %d, for a record of partition %d: "+
			"publish the input keyed by the same key, or set PartitionedBySource if its partitions follow the key in another way",
			t.id.Handler, key, at, n, t.id.Partition)}
	}
	return nil
}

// fenced closes the task for good: opening it again would fence the new owner (O2). A source that
// reassigns partitions will take this one away; what it delivers of it until then is held. Any
// other has nothing more for the handler.
func (t *Task) fenced(err error) {
	t.commits.closes(err)
	t.p.report(t, waitsForever, "another owner opened it, so it stays closed here: "+err.Error())
	t.reg.endSubscription(t, err)
}

// shutFenced shuts a task that was fenced.
func (t *Task) shutFenced(ctx context.Context) {
	if t.take(ctx) == nil {
		t.shut()
		t.give()
	}
}

// take waits for the turn.
func (t *Task) take(ctx context.Context) error {
	select {
	case <-t.turn: // also when ctx is done: closing must not depend on luck
		return nil
	default:
	}
	select {
	case <-t.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Task) give() { t.turn <- struct{}{} }

// close waits for the turn and for what was submitted, then lets go.
func (t *Task) close(ctx context.Context, why error) error {
	if err := t.take(ctx); err != nil {
		return fmt.Errorf("close task %s: %w", t.id, context.Cause(ctx))
	}
	defer t.give()
	var err error
	if f, _ := t.commits.last(); f != nil { // one that failed was told to whoever waited for it
		err = t.await(f)
	}
	t.commits.closes(why)
	t.shut()
	return err
}

// finishUp publishes what the task still holds and closes it.
func (t *Task) finishUp(ctx context.Context) error {
	if err := t.publishAll(ctx); err != nil {
		t.p.cfg.Logger.Warn("outputs stay stored until the next start", "task", t.id.String(), "reason", err)
	}
	return t.close(ctx, ErrClosed)
}

// publishAll waits until the rows are published, and trims them: a sink without
// a cursor would get them again.
func (t *Task) publishAll(ctx context.Context) error {
	if err := t.take(ctx); err != nil {
		return err
	}
	defer t.give()
	if !t.open || t.outbox == nil || t.stale || t.isBroken() {
		return nil
	}
	f, err := t.commits.last()
	if f != nil {
		err = t.await(f)
	}
	if err != nil {
		return err
	}
	if err := t.outbox.Drained(ctx); err != nil {
		return err
	}
	if !t.trimmable() {
		return nil
	}
	if f, err = t.submit(ctx); err != nil {
		return err
	}
	return t.await(f)
}

func (t *Task) isBroken() bool {
	broken, closed := t.commits.state()
	return broken != nil || closed != nil
}

// isClosed reports whether the task must not be opened again.
func (t *Task) isClosed() bool {
	_, closed := t.commits.state()
	return closed != nil
}
