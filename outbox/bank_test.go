package outbox_test

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

// bank is a sink that must reserve.
type bank struct {
	*outbox.Memory
	name string
	err  error // of Prepare

	mu       sync.Mutex
	reserved map[string]string // the rows, by handle
	made     int
	commits  int
}

var _ outbox.Preparer = (*bank)(nil)

func newBank(name string, topics ...string) *bank {
	return &bank{Memory: outbox.NewMemory(topics...), name: name, reserved: make(map[string]string)}
}

func (b *bank) Traits() stateful.SinkTraits {
	t := b.Memory.Traits()
	t.Name = b.name
	return t
}

func (b *bank) Prepare(ctx context.Context, p stateful.Producer, rows []stateful.Row) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.seen(ctx, p); err != nil {
		return nil, err
	}
	if b.err != nil {
		return nil, b.err
	}
	b.made++
	h := fmt.Sprint("reservation ", b.made)
	b.reserved[h] = fmt.Sprint(seqs(rows))
	return []byte(h), nil
}

func (b *bank) CommitPrepared(ctx context.Context, p stateful.Producer, handle []byte, rows []stateful.Row) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.seen(ctx, p)
	if err != nil {
		return err
	}
	if got := fmt.Sprint(seqs(rows)); c.Seq < rows[len(rows)-1].Seq && b.reserved[string(handle)] != got {
		return stateful.Permanent(fmt.Errorf("%q is reserved for %s, and committed for %s", handle, b.reserved[string(handle)], got))
	}
	delete(b.reserved, string(handle))
	b.commits++
	_, err = b.Commit(ctx, p, rows)
	return err
}

// seen is the cursor, once p is known to be no stale producer.
func (b *bank) seen(ctx context.Context, p stateful.Producer) (outbox.Cursor, error) {
	return b.Memory.Recover(ctx, p, nil)
}

func (b *bank) Recover(ctx context.Context, p stateful.Producer, decided []stateful.Prepared) (outbox.Cursor, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := make(map[string]bool)
	for _, d := range decided {
		keep[string(d.Handle)] = true
	}
	maps.DeleteFunc(b.reserved, func(h, _ string) bool { return !keep[h] })
	return b.Memory.Recover(ctx, p, decided)
}

func (b *bank) Abort(_ context.Context, _ stateful.Producer, handle []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.reserved, string(handle))
	return nil
}
