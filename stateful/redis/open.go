package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/stateful"
)

// keys are those of a task. All are in one slot, that of what is in braces.
type keys struct{ hash, index, lease string }

func (b *Backend) keysOf(id stateful.TaskID) (keys, error) {
	// A colon ends the app's name and begins the partition. A closing brace would end what chooses the slot, not
	// before the app's name: still one slot for all keys of the task.
	if id.App == "" || strings.ContainsAny(id.App, ":{}") || id.Handler == "" {
		return keys{}, fmt.Errorf("app %q and handler %q must have a character, and the app no colon and no braces", id.App, id.Handler)
	}
	task := fmt.Sprintf("%s{%s:%s:%d}", b.c.Prefix, id.App, id.Handler, id.Partition)
	return keys{hash: task + ":s", index: task + ":i", lease: task + ":l"}, nil
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
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.leave()
	s := &store{b: b, id: id, keys: k, known: b.knownOf(id)}
	// What the owner before has under way in this process need not be lost.
	if last := s.known.lastUnderWay(); last != nil {
		_ = last.Wait(ctx) // how it ended does not matter here
	}
	for {
		since := s.known.get()
		before, err := b.readHead(ctx, k)
		if err != nil {
			return nil, err
		}
		if err := since.surpassed(before); err != nil {
			return nil, err
		}
		next := head{before.Head, newOwner()}
		next.Epoch++
		switch taken, err := b.takeOver(ctx, k, before, next, holder); {
		case err != nil:
			return nil, err
		case taken:
			s.sent, s.acked = next, next
			s.known.own(s, next)
			if b.c.Index {
				return s, s.checkIndex(ctx)
			}
			return s, nil
		}
		// Another took it in between: it is our turn again.
	}
}

// surpassed returns an error when now, what the server has of a task, is less than it had acknowledged.
func (known head) surpassed(now head) error {
	switch {
	case known.Epoch == 0 || now.Epoch >= known.Epoch && now.Seq >= known.Seq:
		return nil
	case now.Epoch == 0:
		return lost("nothing of the task is there, not even its head", known)
	}
	return lost(now.String()+" is the last it has", known)
}

func (b *Backend) readHead(ctx context.Context, k keys) (head, error) {
	var text string
	err := b.guard.again(ctx, func() (err error) {
		text, err = b.client.HGet(ctx, k.hash, headField).Result()
		return err
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		return head{}, fmt.Errorf("read the head: %w", err)
	}
	return parseHead(text)
}

// takeOver puts next in the place of before, and reports whether before was still there. A repetition finds out what became
// of a try whose answer was lost.
func (b *Backend) takeOver(ctx context.Context, k keys, before, next head, holder string) (bool, error) {
	expected, drop := "", "1"
	if before.Epoch > 0 {
		expected = before.encode()
	}
	if b.c.Index {
		drop = "0"
	}
	var answer any
	err := b.guard.again(ctx, func() (err error) {
		answer, err = openScript.run(ctx, b.client, []string{k.hash, k.index, k.lease}, expected, next.encode(), holder, drop)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("take it over: %w", err)
	}
	switch answer {
	case int64(1), next.encode():
		return true, nil
	case int64(0):
		return false, fmt.Errorf("its lease was given to another: %w", stateful.ErrFenced)
	}
	return false, nil
}
