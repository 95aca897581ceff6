package handlers

import (
	"context"
	"fmt"

	"github.com/pondage/pondage/stateful"
)

// identity is what the state of a handler is of, as text. State of another is not
// taken for its own.
type identity struct {
	windows string
	trigger string // with the mode of emitting
}

// usual is the trigger of which nothing is stored.
var usual = atEnd{}.String() + ", " + Accumulating.String()

// aboutWindows keeps the identity beside the state. Other windows would
// give its ends other starts.
type aboutWindows struct {
	table            *stateful.Table[string]
	windows, trigger *stateful.Cell[string]
	now              identity
}

func describe(ctx context.Context, t *stateful.Task, now identity) (*aboutWindows, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[string]{})
	if err != nil {
		return nil, err
	}
	a := &aboutWindows{table: stateful.NewTable(t, "a", codec), now: now}
	if a.windows, err = a.table.Load(ctx, []byte("windows")); err != nil {
		return nil, err
	}
	if a.trigger, err = a.table.Load(ctx, []byte("trigger")); err != nil {
		return nil, err
	}
	was, ok := a.windows.Value()
	if !ok {
		return a, nil
	}
	if was != now.windows {
		return nil, stateful.TaskFault(fmt.Errorf("the stored state is of windows %q, and Windows says %q: "+
			"set Windows back, or give the handler another Name, under which it starts empty", was, now.windows))
	}
	trigger, ok := a.trigger.Value()
	if !ok {
		trigger = usual
	}
	if trigger != now.trigger {
		return nil, stateful.TaskFault(fmt.Errorf("the stored state is of windows that fire %s, and Trigger and Emit say %s: "+
			"set them back, or give the handler another Name, under which it starts empty", trigger, now.trigger))
	}
	return a, nil
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
