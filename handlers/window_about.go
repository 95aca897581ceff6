package handlers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pondage/pondage/stateful"
)

// identity is what the state of a handler is of, as text. State of another is not
// taken for its own.
type identity struct {
	windows string
	trigger string // with the mode of emitting
}

// inSlices is said of windows whose state has a value for each slice of them.
const inSlices = ", in slices"

// usual is the trigger of which nothing is stored.
var usual = atEnd{}.String() + ", " + Accumulating.String()

// aboutWindows keeps the identity beside the state. Other windows would
// give its ends other starts.
type aboutWindows struct {
	table            *stateful.Table[string]
	windows, trigger *stateful.Cell[string]
	now              identity
}

// describe reads of what the state is. It is to be of one of now; where nothing is stored, of the first.
func describe(ctx context.Context, t *stateful.Task, now []identity) (*aboutWindows, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[string]{})
	if err != nil {
		return nil, err
	}
	a := &aboutWindows{table: stateful.NewTable(t, "a", codec), now: now[0]}
	if a.windows, err = a.table.Load(ctx, []byte("windows")); err != nil {
		return nil, err
	}
	if a.trigger, err = a.table.Load(ctx, []byte("trigger")); err != nil {
		return nil, err
	}
	was := identity{trigger: usual}
	var ok bool
	if was.windows, ok = a.windows.Value(); !ok {
		return a, nil
	}
	if trigger, ok := a.trigger.Value(); ok {
		was.trigger = trigger
	}
	if slices.Contains(now, was) {
		a.now = was
		return a, nil
	}
	return nil, stateful.TaskFault(was.refuse(now[0]))
}

// refuse returns why a handler cannot go on with state that was of another.
func (was identity) refuse(now identity) error {
	const way = "or give the handler another Name, under which it starts empty"
	of := strings.TrimSuffix(was.windows, inSlices)
	switch {
	case of != strings.TrimSuffix(now.windows, inSlices):
		return fmt.Errorf("the stored state is of windows %q, and Windows says %q: set Windows back, %s", of, now.windows, way)
	case was.trigger != now.trigger:
		return fmt.Errorf("the stored state is of windows that fire %s, and Trigger and Emit say %s: set them back, %s", was.trigger, now.trigger, way)
	}
	return fmt.Errorf("the stored state is of slices of windows %q, which only Merge can make windows of, and there is none: set Merge back, %s", of, way)
}

// store makes the identity part of the transaction, unless it is stored.
func (a *aboutWindows) store() {
	if _, ok := a.windows.Value(); ok {
		return
	}
	a.table.Put(a.windows, a.now.windows)
	if a.now.trigger != usual {
		a.table.Put(a.trigger, a.now.trigger)
	}
}
