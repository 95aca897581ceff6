package redis

import (
	"context"
	"errors"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// The largest commit. Redis runs a script alone: one of this size takes some hundred milliseconds.
const (
	maxCommitWrites = 200_000
	maxCommitBytes  = 256 << 20
)

// sendWrites is how much is sent at once, of what waited while the commits before were under way: little enough
// that the answer comes within ReadTimeout also from a busy server that many tasks write to.
const sendWrites = 4000

// Submit implements [stateful.Store].
func (s *store) Submit(_ context.Context, c stateful.Commit) stateful.Pending {
	p, err := s.submit(&c)
	if err != nil {
		return s.line.Refuse(c.Seq, err)
	}
	return p
}

func (s *store) submit(c *stateful.Commit) (*remote.Pending, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.b.calls.Leave()
	switch {
	case c.Seq != s.sent.Seq+1:
		return nil, fmt.Errorf("the last commit is %d, so the next must be %d", s.sent.Seq, s.sent.Seq+1)
	case len(c.Joined) > 0:
		return nil, errors.New("nothing can join a commit on a server")
	}
	p := remote.NewPending(s.sent, c)
	if len(c.Writes) > maxCommitWrites || p.Bytes > maxCommitBytes {
		return nil, fmt.Errorf("it has %d writes of %d bytes and may have %d of %d: lower Limits.CommitRows or CommitBytes",
			len(c.Writes), p.Bytes, maxCommitWrites, maxCommitBytes)
	}
	if err := s.line.Add(p); err != nil {
		return nil, err
	}
	s.sent = p.After
	return p, nil
}

// send sends commits, together and in order, until they landed or one failed. What was certainly not
// carried out is sent again; what may have been is not.
func (s *store) send(now []*remote.Pending) error {
	whole := false
	for try := 1; ; try++ {
		n, err := s.sendOnce(now, whole)
		if now = now[n:]; n > 0 {
			try = 1
		}
		switch {
		case len(now) == 0:
			return nil
		case hasPrefix(err, "NOSCRIPT") && !whole:
			whole = true
		case !isUnsent(err) && !errors.Is(err, stateful.ErrFenced) && !errors.Is(err, ErrLost):
			return fmt.Errorf("%w: %w", stateful.ErrCommitUnknown, err)
		case !isUnsent(err) || !s.b.guard.More(err, try) || s.b.calls.Closing() || s.b.guard.Wait(s.b.ctx, try) != nil:
			return err
		}
	}
}

// sendOnce sends commits once. It returns how many landed and why the next did not.
func (s *store) sendOnce(now []*remote.Pending, whole bool) (landed int, err error) {
	cmds := make([]once, len(now))
	for i, p := range now {
		cmds[i] = once{goredis.NewCmd(s.b.ctx, s.args(p, whole)...)}
	}
	wait := s.b.c.replicas()
	var have *goredis.IntCmd
	err = s.b.guard.Once(func() error {
		pipe := s.b.client.Pipeline()
		for _, cmd := range cmds {
			_ = pipe.Process(s.b.ctx, cmd) // an error comes with Exec
		}
		have = wait.add(s.b.ctx, pipe)
		_, err := pipe.Exec(s.b.ctx)
		if isReply(err) && !isAway(err) {
			return nil // each command has its own
		}
		return err
	})
	if err != nil && !isReply(err) && cmds[0].Err() == nil && cmds[0].Val() == nil {
		return 0, err // none was sent
	}
	var short error
	if have != nil {
		if short = have.Err(); short == nil {
			short = wait.check(have.Val())
		}
	}
	for i, p := range now {
		if err := s.outcome(p, cmds[i]); err != nil {
			return i, err
		}
		if short != nil {
			return i, short
		}
		s.known.Set(p.After)
		s.line.Landed()
	}
	return len(now), nil
}

// args returns the command that makes a commit. Its arguments point into the commit's writes.
func (s *store) args(p *remote.Pending, whole bool) []any {
	puts := 0
	for i := range p.Writes {
		if p.Writes[i].Value != nil {
			puts++
		}
	}
	args := make([]any, 0, 8+2*len(p.Writes))
	command, argument := commitScript.call(whole)
	args = append(args, command, argument)
	if s.b.c.Index {
		args = append(args, 2, s.keys.hash, s.keys.index)
	} else {
		args = append(args, 1, s.keys.hash)
	}
	args = append(args, encodeHead(p.Before), encodeHead(p.After), puts)
	at := func(i int) *stateful.Write { return &p.Writes[i] }
	if s.b.c.Index {
		// A sorted set takes what comes in order a third faster.
		s.ranks = keysort.Order(s.ranks, len(p.Writes), func(i int) string { return p.Writes[i].Key })
		at = func(i int) *stateful.Write { return &p.Writes[s.ranks[i].At] }
	}
	for i := range p.Writes {
		if w := at(i); w.Value != nil {
			args = append(args, fieldArg(&w.Key), (*valueArg)(&w.Value))
		}
	}
	for i := range p.Writes {
		if w := at(i); w.Value == nil {
			args = append(args, fieldArg(&w.Key))
		}
	}
	return args
}

// valueArg is a value as an argument that needs no memory.
type valueArg []byte

// MarshalBinary implements [encoding.BinaryMarshaler].
func (v *valueArg) MarshalBinary() ([]byte, error) { return *v, nil }

// outcome returns nil when p landed.
func (s *store) outcome(p *remote.Pending, cmd once) error {
	answer, err := cmd.Result()
	switch {
	case errors.Is(err, goredis.Nil):
		answer = ""
	case err != nil:
		return err
	case answer == int64(1):
		return nil
	}
	has, err := checkHead(s.line.Acked(), answer)
	switch {
	case err != nil:
		return err
	case has.Seq >= p.After.Seq:
		return nil // the command was sent more than once
	}
	return fmt.Errorf("the server has %s and not the one before this", has)
}
