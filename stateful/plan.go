package stateful

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Planner is implemented by handlers that know, before they run, what they will keep and need.
type Planner interface {
	// Plan is asked by AddTo, once Validate found no fault. c is the processor's configuration,
	// defaults filled in.
	Plan(c Config) Plan
}

// Plan is what AddTo checks of a handler beside what [Validator] says: that it fits the limits,
// and the state that is stored under its name.
type Plan struct {
	// Fault is what cannot hold, all of it joined, each with the numbers and the remedy. The
	// handler is refused.
	Fault error
	// Warnings are about what holds and may not be meant. They are logged, and the handler is added.
	Warnings []string
	// Schema is what stored state depends on. It is stored with the state of each task; state
	// of another one is refused, at AddTo when the backend is a [Peeker], and when the task is opened.
	Schema []SchemaPart
}

// peekFor is how long AddTo may look at what is stored. Without an answer the tasks find out.
const peekFor = 10 * time.Second

// storedTasks is what is stored under one handler's name.
type storedTasks struct {
	n       int            // tasks that have a schema
	schemas [][]SchemaPart // each once
}

// storedPlans returns what handlers of the app have stored, by name. It is empty when
// the backend does not tell.
func (p *Processor) storedPlans() map[string]*storedTasks {
	peeker, ok := p.cfg.Backend.(Peeker)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), peekFor)
	defer cancel()
	all := make(map[string]*storedTasks)
	for found, err := range peeker.Peek(ctx, p.cfg.App, spaceSchema) {
		var schema []SchemaPart
		if err == nil && found.Value != nil {
			schema, err = parseSchema(found.Value)
		}
		if err != nil { // whoever opens the task says it again
			p.cfg.Logger.Warn("look at the stored state", "app", p.cfg.App, "reason", err)
			return all
		}
		if found.Value == nil {
			continue
		}
		s := all[found.Task.Handler]
		if s == nil {
			s = &storedTasks{}
			all[found.Task.Handler] = s
		}
		s.n++
		if !slices.ContainsFunc(s.schemas, func(o []SchemaPart) bool { return slices.Equal(o, schema) }) {
			s.schemas = append(s.schemas, schema)
		}
	}
	return all
}

// checkPlan asks for the handler's plan and compares it with what is stored.
func (p *Processor) checkPlan(r *registration, a *addition) error {
	h, ok := r.handler.(Planner)
	if !ok {
		return nil
	}
	plan := h.Plan(p.cfg)
	r.schema = slices.SortedFunc(slices.Values(plan.Schema), func(a, b SchemaPart) int { return strings.Compare(a.Name, b.Name) })
	errs := []error{plan.Fault}
	warnings := plan.Warnings
	if own := a.stored[r.name]; own != nil {
		for _, s := range own.schemas {
			d := compareSchemas(s, r.schema)
			if err := d.err(); err != nil {
				errs = append(errs, fmt.Errorf("of %s: %w", tasksText(own.n), err))
			} else {
				warnings = append(warnings, d.warnings()...)
			}
		}
	} else {
		warnings = append(warnings, renamed(r, a)...)
	}
	for _, w := range warnings {
		p.cfg.Logger.Warn("plan", "handler", r.name, "warning", w)
	}
	return errors.Join(errs...)
}

func tasksText(n int) string {
	if n == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}

func (d *schemaDiff) warnings() []string {
	if len(d.lost) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("what is stored as %s is not read any more, and gone from each value that is written again: "+
		"to keep it, give the field its old name in a tag, or raise State.Version and set Migrate", strings.Join(d.lost, ", "))}
}

// renamed warns of a handler that starts empty while just what it would store is there under a name
// that no handler has.
func renamed(r *registration, a *addition) (warnings []string) {
	if len(r.schema) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(a.stored)) {
		s := a.stored[name]
		if a.known[name] || len(s.schemas) != 1 || !slices.Equal(s.schemas[0], r.schema) {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("nothing is stored under this name, so it starts empty and reads its input anew; "+
			"but %s of a handler %q that is not added any more have state of just this kind: if it was renamed, give it its old Name", tasksText(s.n), name))
	}
	return warnings
}

// loadSchema compares the stored schema of the task with that of its handler.
func (t *Task) loadSchema(b []byte) error {
	var stored []SchemaPart
	if b != nil {
		var err error
		if stored, err = parseSchema(b); err != nil {
			return err
		}
	}
	d := compareSchemas(stored, t.reg.schema)
	if err := d.err(); err != nil {
		return err
	}
	t.schema = nil
	if d.changed(stored) {
		t.schema = d.next
	}
	return nil
}

// writeSchema makes the schema part of the commit, unless it is stored.
func (t *Task) writeSchema(tx *Tx) {
	if t.schema == nil {
		return
	}
	at := len(tx.arena)
	tx.arena = appendSchema(tx.arena, t.schema)
	tx.writes = append(tx.writes, Write{Key: spaceSchema, Value: tx.arena[at:len(tx.arena):len(tx.arena)]})
	t.schema = nil
}
