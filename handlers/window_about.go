package handlers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// identity is what the state of a handler is of, as text.
type identity struct {
	windows string
	trigger string // with the mode of emitting
}

// inSlices is said of windows whose state has a value for each slice of them.
const inSlices = ", in slices"

// usual is the trigger of which nothing is stored.
var usual = atEnd{}.String() + ", " + Accumulating.String()

// aboutWindows keeps what the state is of beside it. Other windows would give its ends other starts, and
// other modes results that do not go with those before; these are refused. A trigger, and the allowed
// lateness, may change: what windows were given by the one before is not given again.
type aboutWindows struct {
	table *stateful.Table[string]
	cells struct{ windows, trigger, since, lateness, closed *stateful.Cell[string] }

	now    identity // of this handler
	before string   // the trigger that is stored, usual when none is
	begun  bool     // something is stored
	// What is to be stored. trigger is the one that windows are of which nothing is kept; since is the watermark up to which
	// its windows had fired when another took its place, window.Never when none did.
	trigger  string
	since    int64
	lateness int64
	had      int64 // the lateness that is stored, or the same
	closed   int64 // windows whose last millisecond is at or before it are forgotten, whatever the lateness is now
	changed  bool  // some of it is not stored as it is
}

// describe reads of what the state is. It is to be of one of now; where nothing is stored, of the first.
func describe(ctx context.Context, t *stateful.Task, now []identity, lateness int64) (*aboutWindows, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[string]{})
	if err != nil {
		return nil, err
	}
	a := &aboutWindows{
		table: stateful.NewTable(t, "a", codec), now: now[0], before: usual,
		trigger: now[0].trigger, since: window.Never, lateness: lateness, had: lateness, closed: window.Never,
	}
	for key, c := range a.all() {
		if *c, err = a.table.Load(ctx, []byte(key)); err != nil {
			return nil, err
		}
	}
	was, begun := a.cells.windows.Value()
	if a.begun = begun; !begun {
		return a, nil
	}
	if text, ok := a.cells.trigger.Value(); ok {
		a.before = text
	}
	if err := a.check(now, was); err != nil {
		return nil, stateful.TaskFault(err)
	}
	a.now.windows = was
	for cell, to := range map[*stateful.Cell[string]]*int64{a.cells.since: &a.since, a.cells.closed: &a.closed} {
		if err := readMillis(cell, to); err != nil {
			return nil, err
		}
	}
	if err := readMillis(a.cells.lateness, &a.had); err != nil {
		return nil, err
	}
	if a.had < lateness && t.Watermark() > minTime {
		a.closed = max(a.closed, t.Watermark()-a.had)
	}
	a.changed = a.had != lateness
	return a, nil
}

// all are the entries, by key.
func (a *aboutWindows) all() map[string]**stateful.Cell[string] {
	c := &a.cells
	return map[string]**stateful.Cell[string]{
		"windows": &c.windows, "trigger": &c.trigger, "since": &c.since, "lateness": &c.lateness, "closed": &c.closed,
	}
}

func readMillis(c *stateful.Cell[string], to *int64) error {
	text, ok := c.Value()
	if !ok {
		return nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return stateful.TaskFault(fmt.Errorf("entry %q of the windows is %q, which is no number: the stored state is damaged", c.Key(), text))
	}
	*to = ms
	return nil
}

// check returns why a handler cannot go on with state that was of other windows or another mode.
func (a *aboutWindows) check(now []identity, was string) error {
	const way = "or give the handler another Name, under which it starts empty"
	of := strings.TrimSuffix(was, inSlices)
	switch _, mode := splitTrigger(a.before); {
	case of != strings.TrimSuffix(now[0].windows, inSlices):
		return fmt.Errorf("the stored state is of windows %q, and Windows says %q: set Windows back, %s", of, now[0].windows, way)
	case mode != modeOf(now[0].trigger):
		return fmt.Errorf("the stored state is of windows that fire %s, and Trigger and Emit say %s: set Emit back, %s", a.before, now[0].trigger, way)
	case was != of && a.before != now[0].trigger:
		return fmt.Errorf("the stored state is of slices, which windows are merged from that fire %s, and Trigger and Emit say %s: of slices nothing is kept of "+
			"single windows, which another trigger needs; set Trigger back, %s", a.before, now[0].trigger, way)
	case !slices.ContainsFunc(now, func(i identity) bool { return i.windows == was }):
		return fmt.Errorf("the stored state is of slices of windows %q, which only Merge can make windows of, and there is none: set Merge back, %s", of, way)
	}
	return nil
}

// splitTrigger tells the trigger from the mode of emitting.
func splitTrigger(text string) (trigger, mode string) {
	at := max(strings.LastIndex(text, ", "), 0)
	return text[:at], text[at:]
}

func modeOf(text string) string {
	_, mode := splitTrigger(text)
	return mode
}

// keep has the trigger stored that windows are of of which nothing is kept, and the watermark up to which
// they had fired under it, if another is in its place.
func (a *aboutWindows) keep(trigger string, since int64) {
	a.changed = a.changed || a.begun && (trigger != a.before || since != a.since)
	a.trigger, a.since = trigger, since
}

// store makes what the state is of part of the transaction, unless it is stored. Entries are never deleted:
// their cells are used as long as the instance is.
func (a *aboutWindows) store() {
	if _, ok := a.cells.windows.Value(); ok && !a.changed {
		return
	}
	a.put(a.cells.windows, a.now.windows, "")
	a.put(a.cells.trigger, a.trigger, usual)
	a.put(a.cells.since, strconv.FormatInt(a.since, 10), strconv.FormatInt(window.Never, 10))
	a.put(a.cells.lateness, strconv.FormatInt(a.lateness, 10), "")
	a.put(a.cells.closed, strconv.FormatInt(a.closed, 10), strconv.FormatInt(window.Never, 10))
}

// put sets an entry that is not so yet; a missing one is as if it were none.
func (a *aboutWindows) put(c *stateful.Cell[string], text, none string) {
	was, has := c.Value()
	if !has {
		was = none
	}
	if was != text {
		a.table.Put(c, text)
	}
}
