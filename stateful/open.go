package stateful

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/pondage/pondage/stateful/window"
)

// ensureOpen opens the task, or opens it again after a failure.
func (t *Task) ensureOpen(ctx context.Context) error {
	broken, closed := t.commits.state()
	if closed != nil {
		return closed
	}
	if t.open && broken == nil {
		if !t.stale {
			return nil
		}
		if err := t.reload(ctx); err == nil || errors.Is(err, ErrFenced) {
			return err
		}
	}
	t.shut()
	if err := t.load(ctx); err != nil {
		t.shut()
		if errors.Is(err, ErrFenced) {
			t.fenced(err)
		}
		return TaskFault(fmt.Errorf("open task %s: %w", t.id, err))
	}
	return nil
}

// shut lets go of everything held in memory. What was stored stays.
func (t *Task) shut() {
	if t.outbox != nil {
		t.logClose("outbox", t.outbox.Close())
		t.p.report(t, waitsForSink, "") // the next outbox speaks for itself
	}
	if t.store != nil {
		t.logClose("store", t.store.Close())
	}
	t.open, t.outbox, t.store, t.instance = false, nil, nil, instance{}
	t.commits.begin()
}

func (t *Task) logClose(what string, err error) {
	if err != nil && !errors.Is(err, ErrClosed) {
		t.p.cfg.Logger.Warn("close "+what, "task", t.id.String(), "reason", err)
	}
}

func (t *Task) load(ctx context.Context) error {
	var store Store
	var head Head
	var err error
	if t.lease != nil {
		store, head, err = t.lease.Open(ctx)
	} else {
		store, head, err = t.p.cfg.Backend.Open(ctx, t.id)
	}
	if err != nil {
		return err
	}
	t.store, t.seq = store, head.Seq
	if err := t.loadMeta(ctx); err != nil {
		return err
	}
	if err := t.openOutbox(ctx, head.Epoch); err != nil {
		return err
	}
	if err := t.reload(ctx); err != nil {
		return err
	}
	t.open = true
	return nil
}

// reload drops what is in memory and reads it again from the store, which has
// every commit submitted so far.
func (t *Task) reload(ctx context.Context) error {
	t.tx.reset(buffer{})
	if err := t.loadMeta(ctx); err != nil {
		return err
	}
	if err := t.newInstance(ctx); err != nil {
		return err
	}
	t.stale = false
	if err := t.findTimers(ctx); err != nil {
		return err
	}
	return t.findExpiries(ctx)
}

// instance is the handler's part of a task.
type instance struct {
	inst   Handler
	firer  Firer // inst, when it is one
	tables []table
	states []boundState // of the typed states in use, each of which has a table
}

// newInstance makes the handler's part of the task, from what is stored.
func (t *Task) newInstance(ctx context.Context) error {
	t.instance = instance{inst: t.reg.handler}
	if h, ok := t.reg.handler.(Instancer); ok {
		inst, err := h.Instance(ctx, t)
		if err != nil {
			return err
		}
		t.inst = inst
	}
	t.firer, _ = t.inst.(Firer)
	return nil
}

func (t *Task) loadMeta(ctx context.Context) error {
	inputs := t.reg.handler.Inputs()
	vals, err := t.store.Get(ctx, spaceMeta, spaceSchema)
	if err != nil {
		return err
	}
	if err := t.loadSchema(vals[1]); err != nil {
		return err
	}
	m := meta{incarnation: t.p.cfg.Incarnation, nextRow: 1, watermark: math.MinInt64, advanced: math.MinInt64, fired: noFiring}
	if vals[0] != nil {
		if m, err = parseMeta(vals[0]); err != nil {
			return err
		}
	}
	if m.incarnation > t.p.cfg.Incarnation {
		return fmt.Errorf("the state is of incarnation %d and Config.Incarnation is %d: set it to %d",
			m.incarnation, t.p.cfg.Incarnation, m.incarnation)
	}
	t.raised = m.incarnation < t.p.cfg.Incarnation
	m.incarnation = t.p.cfg.Incarnation
	stored := m.inputs
	m.inputs = make([]inputMeta, len(inputs))
	t.wm = window.NewWatermark(len(inputs), t.reg.delay)
	for i, topic := range inputs {
		in := inputMeta{topic: topic, maxTime: math.MinInt64}
		for _, s := range stored {
			if s.topic == topic {
				in = s
			}
		}
		m.inputs[i] = in
		t.wm.RestoreInput(i, in.maxTime, in.state)
	}
	t.wm.Restore(m.watermark)
	t.silence.Stop() // the task did not run
	t.flushed = false
	t.hold()
	if m.published == nil {
		m.published = make(map[string]Published)
	}
	t.meta = m
	t.advancing, t.changed = m.advanced < m.watermark, false
	t.midway = t.advancing
	return nil
}

// position returns where an input goes on.
func (t *Task) position(topic string) (Position, bool) {
	for i := range t.meta.inputs {
		if t.meta.inputs[i].topic == topic {
			return t.meta.inputs[i].pos, true
		}
	}
	return Position{}, false
}
