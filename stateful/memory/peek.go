package memory

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/pondage/pondage/stateful"
)

var _ stateful.Peeker = (*Backend)(nil)

// Peek looks at one key of all tasks of an app; see [stateful.Peeker].
func (b *Backend) Peek(ctx context.Context, app, key string) iter.Seq2[stateful.Peeked, error] {
	return func(yield func(stateful.Peeked, error) bool) {
		err := b.usable()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(stateful.Peeked{}, fmt.Errorf("memory: look at the tasks of %q: %w", app, err))
			return
		}
		for _, id := range b.tasksOf(app) {
			if !yield(stateful.Peeked{Task: id, Value: b.peek(id, key)}, nil) {
				return
			}
		}
	}
}

func (b *Backend) tasksOf(app string) (ids []stateful.TaskID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.tasks {
		if id.App == app {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y stateful.TaskID) int {
		return cmp.Or(cmp.Compare(x.Handler, y.Handler), cmp.Compare(uint32(x.Partition), uint32(y.Partition)))
	})
	return ids
}

func (b *Backend) peek(id stateful.TaskID, key string) []byte {
	b.mu.Lock()
	t := b.tasks[id]
	b.mu.Unlock()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.entries.get(key)
	if !ok {
		return nil
	}
	return append([]byte{}, v...)
}
