package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/pondage/pondage/stateful"
)

// task is a [stateful.TaskOutbox].
type task struct {
	o      *Outbox
	p      stateful.Producer
	report func(error)
	ctx    context.Context // ends when the task's outbox closes
	cancel context.CancelFunc
	work   sync.WaitGroup // relays that run

	edges    []*edge                       // in the order of the outbox's sinks
	relayed  bool                          // all of them are
	prepares bool                          // one of them does
	others   map[string]stateful.Published // sinks that are not among them

	deadLetterTo string
	now          func() time.Time
	maxRows      int
	maxBytes     int64

	mu       sync.Mutex // guards what follows, and the relays' queues
	progress uint64
	rows     int // pushed and not published
	bytes    int64
	failed   error         // of the first sink that failed for good
	closed   bool          // nothing is taken any more
	changed  chan struct{} // closed at the next change of the above; nil when nobody waits

	reporting sync.Mutex // held while the task is told: what it is told last holds
	told      bool       // that a sink fails
}

// edge is how the rows of one sink leave the task.
type edge struct {
	*target
	index int
	way   way
	relay *relay
}

type way int

const (
	relayed   way = iota // stored with the state and published after the commit
	joined               // written by the commit (K8)
	discarded            // neither
)

func openTask(ctx context.Context, o *Outbox, ot stateful.OutboxTask) (*task, error) {
	t := &task{
		o: o, p: ot.Producer, report: ot.Failed, relayed: true,
		others: make(map[string]stateful.Published), maxRows: ot.MaxRows, maxBytes: ot.MaxBytes,
		deadLetterTo: ot.DeadLetterTo, now: ot.Now, progress: 1, // the starts may be beyond what the state knows
	}
	maps.Copy(t.others, ot.Published)
	if t.now == nil {
		t.now = func() time.Time { return time.Time{} }
	}
	if t.report == nil {
		t.report = func(error) {}
	}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := t.open(ctx, &ot); err != nil {
		t.cancel()
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return t, nil
}

func (t *task) open(ctx context.Context, ot *stateful.OutboxTask) error {
	needed, err := t.o.needed(ot)
	if err != nil {
		return err
	}
	for _, target := range t.o.sinks {
		if !needed[target] {
			continue
		}
		e := &edge{target: target, index: len(t.edges), way: target.way(ot.Store)}
		e.relay = &relay{t: t, to: target}
		e.relay.keeps = e.keeps()
		if err = e.start(ctx, ot); err != nil {
			return fmt.Errorf("sink %q: %w", e.traits.Name, err)
		}
		t.edges = append(t.edges, e)
		delete(t.others, e.traits.Name)
		t.relayed = t.relayed && e.way == relayed
		t.prepares = t.prepares || e.prep != nil
	}
	if err := t.resume(ot); err != nil {
		return err
	}
	for _, e := range t.edges {
		if e.way != joined {
			continue
		}
		// Rows stored before the sink could join come before those that will.
		if err := e.relay.empty(ctx); err != nil {
			return err
		}
	}
	for _, e := range t.edges {
		t.mu.Lock()
		e.relay.start()
		t.mu.Unlock()
	}
	return nil
}

// needed returns the sinks that the task has or will have rows for.
func (o *Outbox) needed(ot *stateful.OutboxTask) (map[*target]bool, error) {
	needed := make(map[*target]bool)
	var errs []error
	need := func(topic string) {
		s := o.sinkOf(topic)
		if s == nil {
			errs = append(errs, o.errNoSink(topic))
		}
		needed[s] = true
	}
	for _, topic := range ot.Topics {
		need(topic)
	}
	last := ""
	for i := range ot.Rows {
		if topic := ot.Rows[i].Topic; i == 0 || topic != last {
			last = topic
			need(topic)
		}
	}
	for _, p := range ot.Prepared {
		s := o.byName(p.Sink)
		if s == nil || s.prep == nil {
			errs = append(errs, fmt.Errorf("outputs up to %d are prepared in sink %q, which is not there or no longer prepares: bring it back until they are published", p.Seq, p.Sink))
		}
		needed[s] = true
	}
	return needed, errors.Join(errs...)
}

func (o *Outbox) byName(name string) *target {
	for _, s := range o.sinks {
		if s.traits.Name == name {
			return s
		}
	}
	return nil
}

func (s *target) way(store stateful.Store) way {
	if s.discard {
		return discarded
	}
	if j, ok := store.(stateful.Joiner); ok && s.join != nil && j.CanJoin(s.join.Database()) {
		return joined
	}
	return relayed
}

// start fences the sink and finds out up to where it has the task's rows.
func (e *edge) start(ctx context.Context, ot *stateful.OutboxTask) (err error) {
	known, r := ot.Published[e.traits.Name], e.relay
	r.trim, r.refused = known.Trim, known.Refused
	if r.letters, err = e.letters(ot); err != nil {
		return err
	}
	if e.discard {
		r.published = ot.NextSeq - 1
		r.from, r.trim = r.published, r.published
		return nil
	}
	var decided []stateful.Prepared
	for _, p := range ot.Prepared {
		if p.Sink == e.traits.Name {
			decided = append(decided, p)
		}
	}
	cur, err := e.Recover(ctx, ot.Producer, decided)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	dead, err := r.recoverLetters(ctx, ot)
	if err != nil {
		return err
	}
	if !e.traits.Cursor {
		r.published = max(known.Seq, dead)
		r.from, r.trim = r.published, max(known.Trim, known.Seq)
		return nil
	}
	r.had = cur.Seq
	return r.startAt(max(cur.Seq, dead), known, ot)
}

// startAt begins behind at, up to which the sink, and that of its dead letters, have rows.
func (r *relay) startAt(at uint64, known stateful.Published, ot *stateful.OutboxTask) error {
	switch {
	case at >= ot.NextSeq:
		return fmt.Errorf("it has outputs up to %d of incarnation %d, and the state knows only those below %d: the state is older than the sink; "+
			"restore a newer one, or raise Config.Incarnation to publish what follows again", at, ot.Producer.Incarnation, ot.NextSeq)
	case ot.Raised:
		// Nothing is published under the new incarnation, though rows up to known were under the old. They
		// are not published again.
		r.trim = max(known.Trim, known.Seq)
	case at < min(known.Trim, known.Seq):
		return fmt.Errorf("it has outputs up to %d, those up to %d were published, and the state keeps only those above %d: the sink lost data; "+
			"bring its data back, or raise Config.Incarnation to go on without", at, known.Seq, known.Trim)
	case at < known.Seq:
		r.t.o.c.Logger.Warn("a sink lost outputs that were published; they are published again", "sink", r.to.traits.Name,
			"app", ot.Producer.App, "handler", ot.Producer.Handler, "partition", ot.Producer.Partition, "from", at+1, "to", known.Seq)
	}
	if !r.keeps {
		r.trim = max(r.trim, at)
	}
	r.published, r.from = at, max(at, r.trim)
	return nil
}

// recoverLetters fences the producer of dead letters and returns up to which row they are published.
func (r *relay) recoverLetters(ctx context.Context, ot *stateful.OutboxTask) (uint64, error) {
	if r.letters == nil {
		return r.refused, nil
	}
	to := r.letters.to
	cur, err := to.Recover(ctx, r.letters.p, nil)
	if err != nil {
		return 0, fmt.Errorf("recover sink %q of its dead letters: %w", to.traits.Name, err)
	}
	if to.traits.Cursor && cur.Seq < r.refused && !ot.Raised {
		return 0, fmt.Errorf("sink %q has dead letters of it up to output %d, and those up to %d were published: it lost data; "+
			"bring its data back, or raise Config.Incarnation to go on without", to.traits.Name, cur.Seq, r.refused)
	}
	return max(cur.Seq, r.refused), nil
}

// resume puts what is stored and not yet published into the queues.
func (t *task) resume(ot *stateful.OutboxTask) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.runs(ot.Rows, func(e *edge, run []stateful.Row) {
		n := 0
		for n < len(run) && run[n].Seq <= e.relay.from {
			n++
		}
		e.relay.again(run[:n])
		e.relay.add(run[n:])
	})
	for _, p := range ot.Prepared {
		for _, e := range t.edges {
			if e.traits.Name == p.Sink && p.Seq > e.relay.from {
				e.relay.handles = append(e.relay.handles, p)
			}
		}
	}
	return err
}

// runs calls f with each run of consecutive rows that leave over one edge.
func (t *task) runs(rows []stateful.Row, f func(*edge, []stateful.Row)) error {
	if len(rows) == 0 {
		return nil
	}
	if len(t.o.sinks) == 1 && len(t.edges) == 1 {
		f(t.edges[0], rows)
		return nil
	}
	var errs []error
	for len(rows) > 0 {
		topic := rows[0].Topic
		n := 1
		for n < len(rows) && rows[n].Topic == topic {
			n++
		}
		if e := t.edgeOf(topic); e != nil {
			f(e, rows[:n:n])
		} else {
			errs = append(errs, fmt.Errorf("outbox: output %d goes to topic %q, which handler %q did not declare: name it in Outputs", rows[0].Seq, topic, t.p.Handler))
		}
		rows = rows[n:]
	}
	return errors.Join(errs...)
}

func (t *task) edgeOf(topic string) *edge {
	s := t.o.sinkOf(topic)
	for _, e := range t.edges {
		if e.target == s {
			return e
		}
	}
	return nil
}
