package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

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

	edges    []*edge           // in the order of the outbox's sinks
	relayed  bool              // all of them are
	prepares bool              // one of them does
	others   map[string]uint64 // what was published into sinks that are not among them
	progress atomic.Uint64

	maxRows  int
	maxBytes int64

	mu      sync.Mutex // guards what follows, and the relays' queues
	rows    int        // pushed and not published
	bytes   int64
	failed  error         // of the first sink that failed for good
	closed  bool          // nothing is taken any more
	changed chan struct{} // closed at the next change of the above; nil when nobody waits

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
		others: make(map[string]uint64), maxRows: ot.MaxRows, maxBytes: ot.MaxBytes,
	}
	maps.Copy(t.others, ot.Published)
	if t.report == nil {
		t.report = func(error) {}
	}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := t.open(ctx, &ot); err != nil {
		t.cancel()
		return nil, fmt.Errorf("outbox: %w", err)
	}
	t.progress.Store(1) // the starts may be beyond what the state knows
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
func (e *edge) start(ctx context.Context, ot *stateful.OutboxTask) error {
	known, r := ot.Published[e.traits.Name], e.relay
	if e.discard {
		r.published = ot.NextSeq - 1
		r.from = r.published
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
	switch {
	case !e.traits.Cursor:
		r.published, r.from = known, known
		return nil
	case cur.Seq >= ot.NextSeq:
		return fmt.Errorf("it has outputs up to %d of incarnation %d, and the state knows only those below %d: the state is older than the sink; "+
			"restore a newer one, or raise Config.Incarnation to publish what follows again", cur.Seq, ot.Producer.Incarnation, ot.NextSeq)
	case cur.Seq < known && !ot.Raised:
		return fmt.Errorf("it has outputs up to %d, and those up to %d were published: the sink lost data; "+
			"bring its data back, or raise Config.Incarnation to go on without", cur.Seq, known)
	}
	// After the incarnation was raised nothing is published under the new one, though
	// rows up to known were under the old.
	r.published, r.from = cur.Seq, max(cur.Seq, known)
	return nil
}

// resume puts what is stored and not yet published into the queues.
func (t *task) resume(ot *stateful.OutboxTask) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.runs(ot.Rows, func(e *edge, run []stateful.Row) {
		for len(run) > 0 && run[0].Seq <= e.relay.from {
			run = run[1:]
		}
		e.relay.add(run)
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
