package handlers

import (
	"context"
	"fmt"

	"github.com/pondage/pondage/stateful"
)

// aboutWindows keeps beside the state which windows it is of. Other windows would
// give its ends other starts.
type aboutWindows struct {
	table *stateful.Table[string]
	cell  *stateful.Cell[string]
	now   string
}

func describe(ctx context.Context, t *stateful.Task, windows string) (*aboutWindows, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[string]{})
	if err != nil {
		return nil, err
	}
	a := &aboutWindows{table: stateful.NewTable(t, "a", codec), now: windows}
	if a.cell, err = a.table.Load(ctx, []byte("windows")); err != nil {
		return nil, err
	}
	if was, ok := a.cell.Value(); ok && was != windows {
		return nil, stateful.TaskFault(fmt.Errorf("the stored state is of windows %q, and Windows says %q: "+
			"set Windows back, or give the handler another Name, under which it starts empty", was, windows))
	}
	return a, nil
}

// store makes the description part of the transaction, unless it is stored.
func (a *aboutWindows) store() {
	if _, ok := a.cell.Value(); !ok {
		a.table.Put(a.cell, a.now)
	}
}
