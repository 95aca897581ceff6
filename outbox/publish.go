package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/pondage/pondage/stateful"
)

// Join implements [stateful.TaskOutbox].
func (t *task) Join(rows []stateful.Row) (parts []stateful.Joined, rest []stateful.Row) {
	if t.relayed || len(rows) == 0 {
		return nil, rows
	}
	byEdge := make([][]stateful.Row, len(t.edges))
	// An undeclared topic is refused by Prepare.
	err := t.runs(rows, func(e *edge, run []stateful.Row) {
		if e.way == relayed {
			rest = extend(rest, run)
		} else {
			byEdge[e.index] = extend(byEdge[e.index], run)
		}
	})
	if err != nil {
		return nil, rows
	}
	for _, e := range t.edges {
		if e.way == joined && len(byEdge[e.index]) > 0 {
			parts = append(parts, e.join.Join(t.p, byEdge[e.index]))
		}
	}
	return parts, rest
}

// extend appends run to rows, without copying when there are none.
func extend(rows, run []stateful.Row) []stateful.Row {
	if rows == nil {
		return run[:len(run):len(run)]
	}
	return append(rows, run...)
}

// Prepare implements [stateful.TaskOutbox].
func (t *task) Prepare(ctx context.Context, rest []stateful.Row) ([]stateful.Prepared, error) {
	if len(rest) == 0 || !t.prepares && len(t.o.sinks) == 1 {
		return nil, nil
	}
	byEdge := make([][]stateful.Row, len(t.edges))
	if err := t.runs(rest, func(e *edge, run []stateful.Row) {
		if e.prep != nil {
			byEdge[e.index] = extend(byEdge[e.index], run)
		}
	}); err != nil {
		return nil, err
	}
	var all []stateful.Prepared
	for _, e := range t.edges {
		rows := byEdge[e.index]
		if len(rows) == 0 {
			continue
		}
		handle, err := e.prep.Prepare(ctx, t.p, rows)
		if err != nil {
			t.Abort(context.WithoutCancel(ctx), all)
			return nil, fmt.Errorf("outbox: sink %q: prepare: %w", e.traits.Name, err)
		}
		if handle == nil {
			handle = []byte{} // nil would not be stored
		}
		all = append(all, stateful.Prepared{Sink: e.traits.Name, Seq: rows[len(rows)-1].Seq, Handle: handle})
	}
	return all, nil
}

// Abort implements [stateful.TaskOutbox].
func (t *task) Abort(ctx context.Context, prepared []stateful.Prepared) {
	for _, p := range prepared {
		s := t.o.byName(p.Sink)
		if s == nil || s.prep == nil {
			continue
		}
		// A newer owner has given it up.
		if err := s.prep.Abort(ctx, t.p, p.Handle); err != nil && !errors.Is(err, stateful.ErrFenced) {
			t.o.c.Logger.Warn("what a sink prepared stays reserved until its task is opened again",
				"sink", p.Sink, "handler", t.p.Handler, "partition", t.p.Partition, "reason", err)
		}
	}
}

// Push implements [stateful.TaskOutbox].
func (t *task) Push(rows []stateful.Row, prepared []stateful.Prepared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for _, p := range prepared {
		for _, e := range t.edges {
			if e.traits.Name == p.Sink {
				e.relay.handles = append(e.relay.handles, p)
			}
		}
	}
	err := t.runs(rows, func(e *edge, run []stateful.Row) {
		e.relay.add(run)
		e.relay.start()
	})
	if err != nil { // Prepare refused them
		t.failed = errors.Join(t.failed, err)
		t.wake()
	}
}

// Published implements [stateful.TaskOutbox].
func (t *task) Published() map[string]stateful.Published {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune()
	p := maps.Clone(t.others)
	for _, e := range t.edges {
		if r := e.relay; r.published > 0 || r.trim > 0 {
			p[e.traits.Name] = stateful.Published{Seq: r.published, Trim: r.trim, Refused: r.refused}
		}
	}
	return p
}

// Progress implements [stateful.TaskOutbox].
func (t *task) Progress() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune()
	return t.progress
}

// Backlog implements [stateful.TaskOutbox].
func (t *task) Backlog() (rows int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rows, t.bytes
}

// Room implements [stateful.TaskOutbox].
func (t *task) Room(ctx context.Context) error {
	return t.wait(ctx, func() bool {
		return (t.maxRows <= 0 || t.rows < t.maxRows) && (t.maxBytes <= 0 || t.bytes < t.maxBytes)
	})
}

// Drained implements [stateful.TaskOutbox].
func (t *task) Drained(ctx context.Context) error {
	return t.wait(ctx, func() bool { return t.rows == 0 })
}

// wait returns when ok does, or why it never will. ok is called with t locked.
func (t *task) wait(ctx context.Context, ok func() bool) error {
	for {
		t.mu.Lock()
		switch {
		case t.closed:
			t.mu.Unlock()
			return fmt.Errorf("outbox: %w", stateful.ErrClosed)
		case t.failed != nil:
			defer t.mu.Unlock()
			return t.failed
		case ok():
			t.mu.Unlock()
			return nil
		}
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// wake lets those that wait look again. t is locked.
func (t *task) wake() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// tell says which sinks fail, or that none does any more.
func (t *task) tell() {
	t.reporting.Lock()
	defer t.reporting.Unlock()
	var errs []error
	t.mu.Lock()
	if !t.closed {
		for _, e := range t.edges {
			errs = append(errs, e.relay.trouble)
		}
	}
	t.mu.Unlock()
	err := errors.Join(errs...)
	if err == nil && !t.told {
		return
	}
	t.told = err != nil
	t.report(err)
}

// Close implements [stateful.TaskOutbox].
func (t *task) Close() error {
	t.mu.Lock()
	t.closed = true
	t.wake()
	t.mu.Unlock()
	t.cancel()
	t.work.Wait()
	t.o.forget(t)
	t.tell()
	return nil
}
