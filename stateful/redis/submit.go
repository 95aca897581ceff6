package redis

import (
	"context"
	"errors"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/stateful"
)

// pending is a commit on its way. done is closed once it landed or failed.
type pending struct {
	before, after head
	writes        []stateful.Write
	puts          int
	bytes         int
	done          chan struct{}
	err           error

	index map[string][]byte // of writes, once a read asked; the owner's alone
}

// Wait implements [stateful.Pending].
func (p *pending) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	default:
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// find returns what the commit writes under key.
func (p *pending) find(key string) ([]byte, bool) {
	if p.index == nil {
		p.index = make(map[string][]byte, len(p.writes))
		for i := range p.writes {
			p.index[p.writes[i].Key] = p.writes[i].Value
		}
	}
	v, ok := p.index[key]
	return v, ok
}

// settled is a commit whose outcome is known at once.
type settled struct{ err error }

func (s settled) Wait(context.Context) error { return s.err }

// The largest commit. Redis runs a script alone: one of this size takes some hundred milliseconds.
const (
	maxCommitWrites = 200_000
	maxCommitBytes  = 256 << 20
)

// Submit implements [stateful.Store].
func (s *store) Submit(_ context.Context, c stateful.Commit) stateful.Pending {
	p, err := s.submit(&c)
	if err != nil {
		err = s.wrap(fmt.Sprintf("commit %d of", c.Seq), err)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failed == nil {
			s.failed = err
		}
		return settled{err}
	}
	return p
}

func (s *store) submit(c *stateful.Commit) (*pending, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.b.leave()
	switch {
	case c.Seq != s.sent.Seq+1:
		return nil, fmt.Errorf("the last commit is %d, so the next must be %d", s.sent.Seq, s.sent.Seq+1)
	case len(c.Joined) > 0:
		return nil, errors.New("nothing can join a commit on a server")
	}
	p := &pending{before: s.sent, after: s.sent, writes: c.Writes, done: make(chan struct{})}
	p.after.Seq, p.after.Token = c.Seq, c.Token
	for i := range c.Writes {
		w := &c.Writes[i]
		p.bytes += len(w.Key) + len(w.Value)
		if w.Value != nil {
			p.puts++
		}
	}
	if len(c.Writes) > maxCommitWrites || p.bytes > maxCommitBytes {
		return nil, fmt.Errorf("it has %d writes of %d bytes and may have %d of %d: lower Limits.CommitRows or CommitBytes",
			len(c.Writes), p.bytes, maxCommitWrites, maxCommitBytes)
	}
	if err := s.enqueue(p); err != nil {
		return nil, err
	}
	s.sent = p.after
	return p, nil
}

// enqueue hands p to the goroutine that sends. It lives as long as the queue is not
// empty: a store without commits has none.
func (s *store) enqueue(p *pending) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return fmt.Errorf("an earlier one failed, open the task again: %w", s.failed)
	}
	s.pending, s.queue = append(s.pending, p), append(s.queue, p)
	if !s.sending {
		s.sending = true
		s.b.inside.Add(1) // whoever submits is inside, so it cannot be closed
		go s.sendAll()
	}
	return nil
}

// What is sent at once: what waited while the commits before were under way.
const (
	sendCommits = 16
	sendBytes   = 8 << 20
)

// sendAll sends what is queued until there is nothing.
func (s *store) sendAll() {
	defer s.b.leave()
	for {
		s.mu.Lock()
		n, bytes := 0, 0
		for n < len(s.queue) && n < sendCommits && (n == 0 || bytes+s.queue[n].bytes <= sendBytes) {
			bytes += s.queue[n].bytes
			n++
		}
		now := s.queue[:n:n]
		if s.queue = s.queue[n:]; n == 0 {
			s.queue, s.sending = nil, false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.send(now)
	}
}

// send sends commits, together and in order, until they landed or one failed. What was certainly not
// carried out is sent again; what may have been is not.
func (s *store) send(now []*pending) {
	whole := false
	for try := 1; len(now) > 0; {
		n, err := s.sendOnce(now, whole)
		now = now[n:]
		if err == nil {
			continue
		}
		if hasPrefix(err, "NOSCRIPT") && !whole {
			whole = true
			continue
		}
		if n > 0 {
			try = 1
		}
		if isTransient(err) && isUnsent(err) && try <= s.b.guard.retries && !s.b.isClosing() && s.b.guard.wait(s.b.ctx, try) == nil {
			try++
			continue
		}
		if !isUnsent(err) && !errors.Is(err, stateful.ErrFenced) && !errors.Is(err, ErrLost) {
			err = fmt.Errorf("%w: %w", stateful.ErrCommitUnknown, err)
		}
		s.fail(now[0], err)
		return
	}
}

// sendOnce sends commits once. It returns how many landed and why the next did not.
func (s *store) sendOnce(now []*pending, whole bool) (landed int, err error) {
	cmds := make([]once, len(now))
	for i, p := range now {
		cmds[i] = once{goredis.NewCmd(s.b.ctx, s.args(p, whole)...)}
	}
	err = s.b.guard.once(func() error {
		pipe := s.b.client.Pipeline()
		for _, cmd := range cmds {
			_ = pipe.Process(s.b.ctx, cmd) // an error comes with Exec
		}
		_, err := pipe.Exec(s.b.ctx)
		if isReply(err) && !isAway(err) {
			return nil // each command has its own
		}
		return err
	})
	if err != nil && !isReply(err) && cmds[0].Err() == nil && cmds[0].Val() == nil {
		return 0, err // none was sent
	}
	for i, p := range now {
		if err := s.outcome(p, cmds[i]); err != nil {
			return i, err
		}
		s.landed(p)
	}
	return len(now), nil
}

// args returns the command that makes a commit. Its arguments point into the commit's writes.
func (s *store) args(p *pending, whole bool) []any {
	args := make([]any, 0, 8+2*len(p.writes))
	command, argument := commitScript.call(whole)
	args = append(args, command, argument)
	if s.b.c.Index {
		args = append(args, 2, s.keys.hash, s.keys.index)
	} else {
		args = append(args, 1, s.keys.hash)
	}
	args = append(args, p.before.encode(), p.after.encode(), p.puts)
	for i := range p.writes {
		if w := &p.writes[i]; w.Value != nil {
			args = append(args, fieldArg(&w.Key), (*valueArg)(&w.Value))
		}
	}
	for i := range p.writes {
		if w := &p.writes[i]; w.Value == nil {
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
func (s *store) outcome(p *pending, cmd once) error {
	answer, err := cmd.Result()
	switch {
	case errors.Is(err, goredis.Nil):
		answer = ""
	case err != nil:
		return err
	case answer == int64(1):
		return nil
	}
	text, ok := answer.(string)
	if !ok {
		return fmt.Errorf("the script answered %T", answer)
	}
	has, err := s.landedAs().check(text)
	if err != nil {
		return err
	}
	if has.Seq >= p.after.Seq {
		return nil // the command was sent more than once
	}
	return fmt.Errorf("the server has %s and not the one before this", has)
}

func (s *store) landed(p *pending) {
	s.known.set(p.after)
	s.mu.Lock()
	s.acked = p.after
	s.pending = s.pending[1:]
	s.mu.Unlock()
	close(p.done)
}

// fail makes p fail and all that were submitted after it.
func (s *store) fail(p *pending, err error) {
	err = s.wrap(fmt.Sprintf("commit %d of", p.after.Seq), err)
	s.mu.Lock()
	s.failed, s.broken = err, true
	rest := s.pending
	s.pending, s.queue = nil, nil
	s.mu.Unlock()
	for _, q := range rest {
		q.err = err
		if q != p {
			q.err = s.wrap(fmt.Sprintf("commit %d of", q.after.Seq), fmt.Errorf("an earlier one failed, open the task again: %w", err))
		}
		close(q.done)
	}
}
