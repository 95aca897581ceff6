package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// taskParams are those that name a task.
func taskParams(id stateful.TaskID) ([]param, error) {
	var errs []error
	for _, n := range []struct{ what, name string }{{"app", id.App}, {"handler", id.Handler}} {
		if n.name == "" || len(n.name) > 500 || strings.Contains(n.name, "\x00") || !utf8.ValidString(n.name) {
			errs = append(errs, fmt.Errorf("the %s's name %q must have 1 to 500 bytes of UTF-8 and no zero byte", n.what, n.name))
		}
	}
	return []param{textParam(id.App), textParam(id.Handler), int4Param(id.Partition)}, errors.Join(errs...)
}

// Open takes ownership of a task; see [stateful.Backend]. It waits for a commit that the old owner has under way,
// and ends its session when that takes longer than TakeOverAfter. It refuses with [ErrLost] when the server
// has less of the task than it had acknowledged to this process.
func (b *Backend) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, err := b.open(ctx, id, 0)
	if err != nil {
		return nil, stateful.Head{}, b.wrap("open", id, err)
	}
	return s, s.sent.Head, nil
}

// open opens a task, under the lease with a token unless it is 0.
func (b *Backend) open(ctx context.Context, id stateful.TaskID, token int64) (*store, error) {
	name, err := taskParams(id)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
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
	owner := remote.NewOwner()
	for {
		since := known.Get()
		row, before, err := b.findTask(ctx, name, since)
		if err != nil {
			return nil, err
		}
		next := before
		if before.Owner != owner { // else it is already ours: the answer was lost
			if err := b.mayTake(ctx, name, token); err != nil {
				return nil, err
			}
			next.Epoch, next.Owner = before.Epoch+1, owner
			taken, err := b.take(ctx, row, before, &next, token)
			if err != nil {
				return nil, fmt.Errorf("take it over: %w", err)
			}
			if !taken {
				continue // another took it in between: it is our turn again
			}
		}
		s := newStore(b, id, row, known, next)
		known.Own(s.line, next)
		return s, nil
	}
}

// findTask returns the row of a task and its head. It makes the row when there never was one.
func (b *Backend) findTask(ctx context.Context, name []param, since remote.Head) (row int64, head remote.Head, err error) {
	found := false
	find := call{sql: b.sql.find, params: name, row: func(f *fields) error {
		found = true
		row, head = f.int8(), f.head()
		return nil
	}}
	if err := b.again(ctx, find); err != nil {
		return 0, head, fmt.Errorf("read the head: %w", err)
	}
	if err := since.Surpassed(head); err != nil || found {
		return row, head, err
	}
	if err := b.again(ctx, call{sql: b.sql.create, params: name}, find); err != nil {
		return 0, head, fmt.Errorf("make its row: %w", err)
	}
	if !found {
		return 0, head, errors.New("its row is gone as soon as it is made: something deletes from the table")
	}
	return row, head, nil
}

// head reads the columns epoch, owner, seq and token.
func (f *fields) head() (h remote.Head) {
	h.Epoch, h.Owner = uint64(f.int8()), uint64(f.int8())
	h.Seq, h.Token = uint64(f.int8()), uint64(f.int8())
	return h
}

// mayTake returns why a lease is not, or no longer, the last one of its task.
func (b *Backend) mayTake(ctx context.Context, name []param, token int64) error {
	if token == 0 {
		return nil
	}
	last := int64(0)
	err := b.again(ctx, call{sql: b.sql.leaseToken, params: name, row: func(f *fields) error {
		last = f.int8()
		return nil
	}})
	if err == nil && last != token {
		err = fmt.Errorf("the last lease is %d: %w", last, stateful.ErrFenced)
	}
	return err
}

// takeTries is how often a take-over waits for a commit under way before it ends the session.
const takeTries = 4

// take puts next in the place of before, and reports whether before was still there. next gets the
// sequence of the last commit.
func (b *Backend) take(ctx context.Context, row int64, before remote.Head, next *remote.Head, token int64) (taken bool, err error) {
	params := []param{int8Param(row), int8Param(int64(before.Epoch)), int8Param(int64(before.Owner)), int8Param(token), int8Param(int64(next.Owner))}
	take := call{sql: b.sql.take, params: params, row: func(f *fields) error {
		taken = true
		next.Seq, next.Token = uint64(f.int8()), uint64(f.int8())
		return nil
	}}
	for try := 1; ; try++ {
		taken = false
		err = b.once(ctx, b.settings(b.c.Timeout, b.c.TakeOverAfter/takeTries), take)
		switch {
		case hasCode(err, codeLock, codeCanceled):
			if try >= takeTries {
				if err := b.endHung(ctx, row); err != nil {
					return false, err
				}
			}
			if try < 3*takeTries {
				continue
			}
		case b.guard.More(err, try):
			if b.guard.Wait(ctx, try) == nil {
				continue
			}
		}
		return taken, err
	}
}

// endHung ends the session that holds a task's row.
func (b *Backend) endHung(ctx context.Context, row int64) error {
	err := b.once(ctx, call{sql: b.sql.hung, params: []param{int8Param(row)}, row: func(f *fields) error {
		pid, ended := f.int4(), f.bool()
		b.c.Logger.Warn("postgres: ended the session of an owner whose commit did not end", "pid", pid, "ended", ended, "after", b.c.TakeOverAfter)
		return nil
	}})
	if hasCode(err, codePrivilege) {
		err = fmt.Errorf("a session of another user holds the task's row and this user may not end it: "+
			"end it (pg_stat_activity shows it), or grant pg_signal_backend: %w", err)
	}
	return err
}
