package postgres

import (
	"context"
	"fmt"

	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// maxCommitBytes bounds a commit: a message to PostgreSQL has less than 1 GiB.
const maxCommitBytes = 256 << 20

// Submit implements [stateful.Store].
func (s *store) Submit(_ context.Context, c stateful.Commit) stateful.Pending {
	p, err := s.submit(&c)
	if err != nil {
		return s.line.Refuse(c.Seq, err)
	}
	return p
}

func (s *store) submit(c *stateful.Commit) (p *remote.Pending, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.b.calls.Leave()
	if c.Seq != s.sent.Seq+1 {
		return nil, fmt.Errorf("the last commit is %d, so the next must be %d", s.sent.Seq, s.sent.Seq+1)
	}
	for i := range c.Writes {
		if n := len(c.Writes[i].Key); n > maxKeyBytes {
			return nil, fmt.Errorf("it has a key of %d bytes and may have %d: lower Limits.KeyBytes", n, maxKeyBytes)
		}
	}
	p = remote.NewPending(s.sent, c)
	if p.Bytes > maxCommitBytes {
		return nil, fmt.Errorf("it has %d bytes and may have %d: lower Limits.CommitBytes", p.Bytes, maxCommitBytes)
	}
	if p.Joined, err = join(c.Joined); err != nil {
		return nil, err
	}
	if err := s.line.Add(p); err != nil {
		tell(p.Joined, err)
		return nil, err
	}
	s.sent = p.After
	return p, nil
}

// send makes a group of commits as one, until it landed or failed. What was certainly not carried out is sent
// again; what may have been is not.
func (s *store) send(now []*remote.Pending) error {
	before, after := now[0].Before, now[len(now)-1].After
	s.fill(now)
	commit := call{sql: s.b.sql.commit, params: []param{
		int8Param(s.row), int8Param(int64(before.Epoch)), int8Param(int64(before.Owner)), int8Param(int64(before.Seq)), int8Param(int64(before.Token)),
		int8Param(int64(after.Seq)), int8Param(int64(after.Token)), s.gone.param(), s.put.param(), s.putting.param(),
	}}
	landed := false
	commit.row = func(*fields) error { landed = true; return nil }
	calls := withJoined(commit, now)
	for try := 1; ; try++ {
		landed = false
		err := s.b.once(s.b.ctx, calls...)
		switch {
		case !landed && hasCode(err, codeDivision):
			if err := s.refused(before, after); err != nil {
				return err
			}
			fallthrough
		case err == nil:
			s.known.Set(after)
			for range now {
				s.line.Landed()
			}
			return nil
		case !isUnsent(err):
			return fmt.Errorf("%w: %w", stateful.ErrCommitUnknown, err)
		case !s.b.guard.More(err, try) || s.b.calls.Closing() || s.b.guard.Wait(s.b.ctx, try) != nil:
			return err
		}
	}
}

// refused finds out why the server did not take a commit. It returns nil when it has it.
func (s *store) refused(before, after remote.Head) error {
	var has remote.Head
	err := s.b.again(s.b.ctx, call{sql: s.b.sql.head, params: []param{int8Param(s.row)}, row: func(f *fields) error {
		has = f.head()
		return nil
	}})
	switch told := before.Check(has); {
	case err != nil:
		return fmt.Errorf("it was refused, and why cannot be asked: %w", err)
	case told != nil:
		return told
	case has != after: // else something in between sent it twice
		return fmt.Errorf("the server has %s where %s was", has, before)
	}
	return nil
}

// fill puts what a group writes, the last write of each key and in their order, into parameters.
func (s *store) fill(now []*remote.Pending) {
	s.writes = s.writes[:0]
	for _, p := range now {
		s.writes = append(s.writes, p.Writes...)
	}
	s.ranks = keysort.Order(s.ranks, len(s.writes), func(i int) string { return s.writes[i].Key })
	s.gone.reset()
	s.put.reset()
	s.putting.reset()
	for i, r := range s.ranks {
		if i > 0 && s.writes[s.ranks[i-1].At].Key == s.writes[r.At].Key {
			continue // it was written with the first of its equals
		}
		w := &s.writes[r.At]
		for _, q := range s.ranks[i+1:] {
			if s.writes[q.At].Key != w.Key {
				break
			}
			w = &s.writes[max(q.At, r.At)]
			r.At = max(q.At, r.At)
		}
		if w.Value == nil {
			s.gone.append(w.Key)
		} else {
			s.put.append(w.Key)
			s.putting.appendBytes(w.Value)
		}
	}
	clear(s.writes)
}
