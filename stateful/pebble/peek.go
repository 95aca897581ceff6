package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
)

var _ stateful.Peeker = (*Backend)(nil)

// Peek looks at one key of all tasks of an app; see [stateful.Peeker].
func (b *Backend) Peek(ctx context.Context, app, key string) iter.Seq2[stateful.Peeked, error] {
	return func(yield func(stateful.Peeked, error) bool) {
		stopped := false
		err := b.peek(ctx, app, key, func(p stateful.Peeked) bool {
			stopped = !yield(p, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(stateful.Peeked{}, fmt.Errorf("pebble: look at the tasks of %q: %w", app, err))
		}
	}
}

func (b *Backend) peek(ctx context.Context, app, key string, yield func(stateful.Peeked) bool) (err error) {
	if err := b.gate.enter(); err != nil {
		return err
	}
	defer b.gate.leave()
	// The heads of the app's tasks, which nobody else's keys lie between.
	heads := append([]byte{pebbledb.SpaceState, 0}, app+"\x00"...)
	it, err := b.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: heads, UpperBound: successor(heads)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := it.Key()[len(heads):]
		at := bytes.IndexByte(name, 0)
		if at < 0 || len(name) != at+1+4 {
			return fmt.Errorf("the head of a task has the key %x: restore the directory from a copy", it.Key())
		}
		p := stateful.Peeked{Task: stateful.TaskID{
			App: app, Handler: string(name[:at]), Partition: int32(binary.BigEndian.Uint32(name[at+1:])),
		}}
		entry := append([]byte{pebbledb.SpaceState}, it.Key()[2:]...)
		if p.Value, err = b.value(append(entry, key...)); err != nil {
			return err
		}
		if !yield(p) {
			return nil
		}
	}
	return it.Error()
}

// value returns a copy of what is stored under a key of the database.
func (b *Backend) value(key []byte) ([]byte, error) {
	v, closer, err := b.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, v...), closer.Close()
}
