package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// keys are those of a task. All are in one slot, that of what is in braces.
type keys struct {
	hash, index, lease string
	// registry has a field for each task of the app that was ever opened. It is in another slot, so that what loses the
	// task does not lose this too.
	registry, field string
}

func (b *Backend) keysOf(id stateful.TaskID) (keys, error) {
	// A colon ends the app's name and begins the partition. A closing brace would end what chooses the slot, not
	// before the app's name: still one slot for all keys of the task.
	if id.App == "" || strings.ContainsAny(id.App, ":{}") || id.Handler == "" {
		return keys{}, fmt.Errorf("app %q and handler %q must have a character, and the app no colon and no braces", id.App, id.Handler)
	}
	field := fmt.Sprintf("%s:%d", id.Handler, id.Partition)
	task := b.c.Prefix + "{" + id.App + ":" + field + "}"
	return keys{hash: task + ":s", index: task + ":i", lease: task + ":l", registry: b.c.Prefix + "{" + id.App + "}:t", field: field}, nil
}

// Open takes ownership of a task; see [stateful.Backend]. It refuses with [ErrLost] when the
// server has less of the task than it had acknowledged to this process.
func (b *Backend) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, err := b.open(ctx, id, "")
	if err != nil {
		return nil, stateful.Head{}, fmt.Errorf("redis: open task %s: %w", id, err)
	}
	return s, s.sent.Head, nil
}

// open opens a task, under the lease that holder has unless it is empty.
func (b *Backend) open(ctx context.Context, id stateful.TaskID, holder string) (*store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k, err := b.keysOf(id)
	if err != nil {
		return nil, err
	}
	if err := b.calls.Enter(); err != nil {
		return nil, err
	}
	defer b.calls.Leave()
	known := b.calls.Known(id)
	// What the owner before has under way in this process need not be lost.
	if last := known.LastUnderWay(); last != nil {
		_ = last.Wait(ctx) // how it ended does not matter here
	}
	for {
		since := known.Get()
		before, err := b.readHead(ctx, k)
		if err != nil {
			return nil, err
		}
		if err := since.Surpassed(before); err != nil {
			return nil, err
		}
		if before.Epoch == 0 {
			// The registry has it once the head is there: so is the head of another who opens it for the first time now.
			if err := b.neverOpened(ctx, k); err != nil {
				if now, headErr := b.readHead(ctx, k); headErr == nil && now.Epoch > 0 {
					continue
				}
				return nil, err
			}
		}
		next := remote.Head{Head: before.Head, Owner: remote.NewOwner()}
		next.Epoch++
		switch taken, err := b.takeOver(ctx, k, before, next, holder); {
		case err != nil:
			return nil, err
		case taken:
			s := newStore(b, id, k, known, next)
			known.Own(s.line, next)
			if before.Seq == 0 {
				if err := b.register(ctx, k); err != nil {
					return nil, err
				}
			}
			if b.c.Index {
				return s, s.checkIndex(ctx)
			}
			return s, nil
		}
		// Another took it in between: it is our turn again.
	}
}

// neverOpened returns an error when the registry has a task of which nothing is there. A task that begins anew although
// it once ran would repeat all it did (O5).
func (b *Backend) neverOpened(ctx context.Context, k keys) error {
	var opened bool
	err := b.guard.Again(ctx, func() (err error) {
		opened, err = b.client.HExists(ctx, k.registry, k.field).Result()
		return err
	})
	if err != nil {
		return fmt.Errorf("read the registry: %w", err)
	}
	if opened {
		return fmt.Errorf("%w: nothing of the task is there, but it was opened before: restore the server's data, from a copy or a node that still has it; "+
			"or, to begin anew on purpose, delete the field %q of the hash %s", ErrLost, k.field, k.registry)
	}
	return nil
}

// register enters a task into the registry, with every open before its first commit.
func (b *Backend) register(ctx context.Context, k keys) error {
	err := b.guard.Again(ctx, func() error { return b.client.HSet(ctx, k.registry, k.field, "1").Err() })
	if err != nil {
		return fmt.Errorf("enter it into the registry: %w", err)
	}
	return nil
}

func (b *Backend) readHead(ctx context.Context, k keys) (remote.Head, error) {
	var text string
	err := b.guard.Again(ctx, func() (err error) {
		text, err = b.client.HGet(ctx, k.hash, headField).Result()
		return err
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		return remote.Head{}, fmt.Errorf("read the head: %w", err)
	}
	return parseHead(text)
}

// takeOver puts next in the place of before, and reports whether before was still there. A repetition finds out what became
// of a try whose answer was lost.
func (b *Backend) takeOver(ctx context.Context, k keys, before, next remote.Head, holder string) (bool, error) {
	expected, drop := "", "1"
	if before.Epoch > 0 {
		expected = encodeHead(before)
	}
	if b.c.Index {
		drop = "0"
	}
	var answer any
	var have int64
	err := b.guard.Again(ctx, func() (err error) {
		answer, have, err = openScript.runAndWait(ctx, b.client, b.c.replicas(), []string{k.hash, k.index, k.lease}, expected, encodeHead(next), holder, drop)
		return err
	})
	if err == nil && answer == int64(1) {
		err = b.c.replicas().check(have)
	}
	if err != nil {
		return false, fmt.Errorf("take it over: %w", err)
	}
	switch answer {
	case int64(1), encodeHead(next):
		return true, nil
	case int64(0):
		return false, fmt.Errorf("its lease was given to another: %w", stateful.ErrFenced)
	}
	return false, nil
}
