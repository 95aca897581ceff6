package stateful_test

import (
	"context"
	"testing"

	"github.com/pondage/pondage/stateful"
)

// A row without a payload is a tombstone and not an empty value, also when it comes from the store, and when a
// record without one is dead-lettered. The same holds for keys.
func TestNilStaysNil(t *testing.T) {
	h := each(func(_ context.Context, tx *stateful.Tx, v string) error {
		if v == "" {
			return stateful.Permanent(errDisk)
		}
		for _, b := range [][]byte{nil, {}} {
			if err := tx.Emit(stateful.Row{Topic: "out", Key: b, Payload: b, Time: stateful.NoTime}); err != nil {
				return err
			}
		}
		return nil
	})
	h.to = ""
	r := newRig(t, tombstones{h})
	r.sink.hold()
	b := r.batch("in", "emit", "")
	b.Records[1].Value, b.Records[1].Key = nil, nil
	if err := r.process(b); err != nil {
		t.Fatal(err)
	}
	check := func(where string) {
		t.Helper()
		rows := r.sink.opened.waiting
		if len(rows) != 3 {
			t.Fatalf("%s there are %d rows, want 3", where, len(rows))
		}
		for i, isNil := range []bool{true, false, true} {
			if (rows[i].Key == nil) != isNil || (rows[i].Payload == nil) != isNil {
				t.Errorf("%s row %d has key %#v and payload %#v, want nil: %v", where, i+1, rows[i].Key, rows[i].Payload, isNil)
			}
		}
	}
	check("in hand")
	r.restart()
	r.tick()
	if err := r.process(r.batch("in")); err != nil {
		t.Fatal(err)
	}
	check("from the store")
}

type tombstones struct{ *timed }

func (tombstones) Outputs() []string { return []string{"out"} }
