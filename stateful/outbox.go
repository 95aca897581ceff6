package stateful

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Row is one output of a committed transaction.
type Row struct {
	// Seq is the output sequence: 1 for a task's first row, without gaps. With
	// the [Producer] it is the row's transport id, the same after every replay of
	// a committed row (T8).
	Seq     uint64
	Topic   string
	Key     []byte
	Payload []byte
	Headers []Header
	Time    int64 // event time in milliseconds since 1970 UTC, or [NoTime]
}

// Size is what the row counts against the outbox's limit, in bytes.
func (r *Row) Size() int {
	n := 64 + len(r.Topic) + len(r.Key) + len(r.Payload)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 32
	}
	return n
}

// Producer is who publishes a task's rows: the name under which a sink keeps its
// cursor, and the pair by which it tells the living from the dead (K1).
type Producer struct {
	App         string
	Incarnation uint64 // rises by command only, when history is rewritten
	Handler     string
	Partition   int32
	Epoch       uint64 // of the task's owner
	// Run tells the lives of state that dies with the process apart; empty for any other. One begins anew and may give other
	// outputs under the same sequences, so it is part of the transport id (T8). Cursors are kept without it.
	Run string
}

// processRun is the run of state that begins anew with the process.
var processRun = sync.OnceValue(rand.Text)

// run returns Producer.Run.
func (p *Processor) run() string {
	b := p.cfg.Backend
	if b.Domain() != DomainProcess {
		return ""
	}
	if r, ok := b.(Runner); ok {
		return r.Run()
	}
	return processRun()
}

// Outbox takes what tasks emit to where it goes. Package outbox has the one
// implementation; the interface keeps this package free of it.
type Outbox interface {
	// Accepts returns nil when a sink takes topic, else an error that says which
	// sinks there are.
	Accepts(topic string) error
	// Check returns why the sink of row.Topic would refuse the row for ever (its
	// size, topic or encoding): there the failure is still the record's (K4).
	Check(row *Row) error
	// SinkTraits says what the sink of topic can do.
	SinkTraits(topic string) SinkTraits
	// OpenTask fences the sinks for the task, recovers them from their own
	// cursors and starts its relay. It refuses with an error when a cursor is
	// beyond what the state knows (K1, a stale state) or below what was already
	// trimmed (K3, a sink that lost data).
	OpenTask(ctx context.Context, t OutboxTask) (TaskOutbox, error)
	// Close closes the sinks. Tasks are closed before.
	Close() error
}

// OutboxTask is what a task tells its outbox when it opens.
type OutboxTask struct {
	Producer Producer
	// Topics are the outputs the task's handler declared.
	Topics []string
	// NextSeq is the sequence the next row will get.
	NextSeq uint64
	// Published is how far each sink came, by its name.
	Published map[string]Published
	// Raised says that the state is of a lower incarnation than Producer: Published is
	// what sinks took in that one, and their cursors begin anew.
	Raised bool
	// Rows are the stored rows that were not trimmed, in sequence. Those not yet
	// published are published first.
	Rows []Row
	// DeadLetterTo is the topic of what failed for good; empty when there is none.
	DeadLetterTo string
	// Now tells the time. Without it what is kept for a time is kept by number alone.
	Now func() time.Time
	// Prepared are the stored handles of sinks that reserve before they commit.
	Prepared []Prepared
	// Store is the task's store, to find out whether a sink can join its commits.
	Store Store
	// MaxRows and MaxBytes bound what may wait before Room blocks.
	MaxRows  int
	MaxBytes int64
	// Failed is told when a sink fails, and with nil when none does any more. Once one
	// failed for good the task pauses: Room returns the error. It may be called from any goroutine.
	Failed func(error)
}

// Prepared is what a sink reserved for the rows of one transaction. It is
// stored in the commit that decides them.
type Prepared struct {
	Sink   string
	Seq    uint64 // of the last row it covers
	Handle []byte
}

// Published is how far a sink came with the rows of a task that go to it.
type Published struct {
	// Seq: all rows up to here are published, or were dead-lettered.
	Seq uint64
	// Trim: rows up to here will not be needed again and may be gone from the state. It is below Seq
	// for as long as rows are kept for a sink that may lose them (K3).
	Trim uint64
	// Refused is the last of the rows up to Trim that the sink refused and that was dead-lettered
	// instead, 0 when none was (K4).
	Refused uint64
}

// TaskOutbox publishes one task's rows. Join, Prepare and Room are called by the
// task's goroutine, Push by one goroutine at a time but beside them; the others
// may be called by any. Calls after Close do nothing.
type TaskOutbox interface {
	// Join splits rows, of one transaction: those whose sink writes in the
	// commit itself (K8) become joined and need no relay, the rest is stored with
	// the state. Rows keep their memory until the commit is durable or failed.
	Join(rows []Row) (joined []Joined, rest []Row)
	// Prepare lets sinks that must reserve do so, before the state commit. An
	// error, after which nothing stays reserved, is the task's and not a record's.
	Prepare(ctx context.Context, rest []Row) ([]Prepared, error)
	// Abort gives up what Prepare reserved: the commit failed for certain.
	Abort(ctx context.Context, p []Prepared)
	// Push hands over the stored rows of a transaction whose commit is durable, in
	// order of commits. The rows and their memory belong to the outbox from then on.
	Push(rows []Row, p []Prepared)
	// Published returns how far each sink came, by its name; the task stores it and forgets
	// rows up to Trim with a later commit. The map is the caller's.
	Published() map[string]Published
	// Progress returns a number that grows whenever Published changes.
	Progress() uint64
	// Room waits until less than the limits is waiting, a sink failed, or ctx is done.
	Room(ctx context.Context) error
	// Backlog returns how much was pushed and not yet published.
	Backlog() (rows int, bytes int64)
	// Drained waits until everything pushed is published, a sink failed, or ctx is done.
	Drained(ctx context.Context) error
	// Close stops the relay at once and waits for it.
	Close() error
}

// SinkTraits declares what a sink can do.
type SinkTraits struct {
	Name string
	// Cursor: the sink keeps (epoch, sequence) with what it published, so that
	// each row is there exactly once.
	Cursor bool
	// FIFO: rows of one task stay in order.
	FIFO bool
	// Joins: the sink writes in the state's own commit when it shares the
	// database.
	Joins bool
	// Domain says what a published row survives.
	Domain Domain
	// Weak says why the sink gives less than exactly-once; empty when it does not.
	Weak string
}

// publishing is the task's part of the outbox.
type publishing struct {
	outbox   TaskOutbox
	stored   stored // rows in the store, until trimmed
	progress uint64 // of the outbox, when rows were last trimmed
	raised   bool   // the stored incarnation is lower than the configured one
}

// openOutbox hands the rows that were committed and not yet published to the relay.
func (t *Task) openOutbox(ctx context.Context, epoch uint64) error {
	t.stored = stored{}
	if t.p.cfg.Outbox == nil || len(t.reg.outputs) == 0 {
		return nil
	}
	task := OutboxTask{
		Producer: Producer{App: t.id.App, Incarnation: t.meta.incarnation, Handler: t.id.Handler, Partition: t.id.Partition, Epoch: epoch, Run: t.p.run()},
		Topics:   t.reg.outputs, NextSeq: t.meta.nextRow, Published: t.meta.published, Store: t.store,
		MaxRows: t.p.cfg.Limits.OutboxRows, MaxBytes: t.p.cfg.Limits.OutboxBytes,
		Raised: t.raised, DeadLetterTo: t.p.cfg.DeadLetterTo, Now: t.p.cfg.Now,
		Failed: func(err error) {
			if err == nil {
				t.p.report(t, waitsForSink, "")
				return
			}
			t.p.report(t, waitsForSink, "sink failed: "+err.Error())
		},
	}
	for e, err := range t.store.Scan(ctx, spaceRow, after(spaceRow)) {
		if err != nil {
			return err
		}
		row, err := parseRow(e.Key, e.Value)
		if err != nil {
			return err
		}
		task.Rows = append(task.Rows, row)
		t.stored.add(t.p.cfg.Outbox.SinkTraits(row.Topic).Name, row.Seq, false)
	}
	for e, err := range t.store.Scan(ctx, spacePrepared, after(spacePrepared)) {
		if err != nil {
			return err
		}
		h, err := parsePrepared(e)
		if err != nil {
			return err
		}
		task.Prepared = append(task.Prepared, h)
		t.stored.add(h.Sink, h.Seq, true)
	}
	t.stored.sort()
	ob, err := t.p.cfg.Outbox.OpenTask(ctx, task)
	if err != nil {
		return err
	}
	t.outbox, t.progress = ob, 0
	return nil
}

// checkRow returns why row could never be published.
func (t *Task) checkRow(row *Row) error {
	if t.outbox == nil {
		return errors.New("the handler declared no output, or the processor has no Outbox")
	}
	if _, ok := t.reg.sinkOf[row.Topic]; !ok {
		return fmt.Errorf("the handler declares only %q: name the topic in Outputs", t.reg.outputs)
	}
	return t.p.cfg.Outbox.Check(row)
}
