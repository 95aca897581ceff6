package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/stateful"
)

// retainedBytes is the memory that a batch keeps for the next one.
const retainedBytes = 4 << 20

// pending is a commit that was applied. done is closed once it is durable or
// failed.
type pending struct {
	batch  *pebble.Batch
	seq    uint64
	joined []stateful.Joined
	done   chan struct{}
	err    error
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

// settled is a commit whose outcome is known at once.
type settled struct{ err error }

func (s settled) Wait(context.Context) error { return s.err }

// Submit implements [stateful.Store]. When it returns the commit is visible to
// Get and Scan, or failed. A commit that is refused before its turn calls none
// of c.Joined.
func (s *store) Submit(_ context.Context, c stateful.Commit) stateful.Pending {
	p, err := s.submit(&c)
	if err != nil {
		return settled{s.fail(c.Seq, err)}
	}
	if p == nil {
		return settled{}
	}
	return p
}

// fail keeps the first failure, so that all later commits fail too.
func (s *store) fail(seq uint64, err error) error {
	err = s.wrap(fmt.Sprintf("commit %d of", seq), err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
	return err
}

func (s *store) submit(c *stateful.Commit) (*pending, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.failure(); err != nil {
		return nil, fmt.Errorf("an earlier one failed, open the task again: %w", err)
	}
	if c.Seq != s.head.Seq+1 {
		return nil, fmt.Errorf("the last commit is %d, so the next must be %d", s.head.Seq, s.head.Seq+1)
	}
	head := stateful.Head{Epoch: s.head.Epoch, Seq: c.Seq, Token: c.Token}
	batch, err := s.fill(c.Writes, head)
	if err != nil {
		return nil, err
	}
	if err := s.apply(batch, c.Joined); err != nil {
		return nil, err
	}
	s.head = head
	if !s.b.db.WriteOptions().Sync {
		settle(c.Joined, nil)
		return nil, batch.Close()
	}
	p := &pending{batch: batch, seq: c.Seq, joined: c.Joined, done: make(chan struct{})}
	s.enqueue(p)
	return p, nil
}

func (s *store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fill writes the entries and the head into a batch, in order of their keys: the
// database's table in memory takes a run in order three times faster than one without.
func (s *store) fill(writes []stateful.Write, head stateful.Head) (*pebble.Batch, error) {
	s.ranks = keysort.Order(s.ranks, len(writes), func(i int) string { return writes[i].Key })
	prefix := s.t.prefix
	const perRecord = 8 // the kind and two lengths
	size := headSize + len(s.t.headKey) + 2*perRecord + len(writes)*(len(prefix)+perRecord)
	for i := range writes {
		size += len(writes[i].Key) + len(writes[i].Value)
	}
	batch := s.b.db.NewBatchWithSize(size, pebble.WithMaxRetainedSizeBytes(retainedBytes))
	for _, r := range s.ranks {
		w := &writes[r.At]
		if w.Value == nil {
			op := batch.DeleteDeferred(len(prefix) + len(w.Key))
			copy(op.Key[copy(op.Key, prefix):], w.Key)
			if err := op.Finish(); err != nil {
				return nil, err
			}
			continue
		}
		op := batch.SetDeferred(len(prefix)+len(w.Key), len(w.Value))
		copy(op.Key[copy(op.Key, prefix):], w.Key)
		copy(op.Value, w.Value)
		if err := op.Finish(); err != nil {
			return nil, err
		}
	}
	op := batch.SetDeferred(len(s.t.headKey), headSize)
	copy(op.Key, s.t.headKey)
	appendHead(op.Value[:0], head)
	return batch, op.Finish()
}

// apply joins the others and applies the batch, under the task's lock.
func (s *store) apply(batch *pebble.Batch, joined []stateful.Joined) error {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.owner.Load() != s {
		batch.Close() //nolint:errcheck // not applied
		return stateful.ErrFenced
	}
	for i, j := range joined {
		if err := j.Join(batchWriter{batch}); err != nil {
			err = fmt.Errorf("join the commit: %w", err)
			applied(joined[:i], err)
			settle(joined[:i], err)
			batch.Close() //nolint:errcheck // not applied
			return err
		}
	}
	err := s.b.db.ApplyNoSyncWait(batch, s.b.db.WriteOptions())
	if err != nil {
		// It may be in the log.
		err = fmt.Errorf("%w: %w", stateful.ErrCommitUnknown, err)
	}
	applied(joined, err)
	if err != nil {
		settle(joined, err)
	}
	return err
}

func applied(joined []stateful.Joined, err error) {
	for _, j := range joined {
		j.Applied(err)
	}
}

func settle(joined []stateful.Joined, err error) {
	for _, j := range joined {
		j.Durable(err)
	}
}

// enqueue hands p to the goroutine that waits for the disk. It lives as long as
// the queue is not empty: a store without commits has none.
func (s *store) enqueue(p *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, p)
	if s.settling {
		return
	}
	s.settling = true
	s.b.gate.hold()
	go s.settleAll()
}

// settleAll completes pendings in order until there are none.
func (s *store) settleAll() {
	defer s.leave()
	var now []*pending
	for {
		s.mu.Lock()
		now, s.queue = s.queue, now[:0]
		if len(now) == 0 {
			s.settling = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for i, p := range now {
			now[i] = nil
			if err := s.await(p); err != nil {
				p.err = s.fail(p.seq, err)
			}
			settle(p.joined, p.err)
			p.batch, p.joined = nil, nil
			close(p.done)
		}
	}
}

func (s *store) await(p *pending) error {
	// The log is written in order: once one is not durable none behind it is known to
	// be.
	if err := s.b.db.SyncWait(p.batch); err != nil {
		return fmt.Errorf("%w: %w", stateful.ErrCommitUnknown, err)
	}
	return p.batch.Close()
}

// batchWriter is a batch as [stateful.Joined] sees it.
type batchWriter struct{ batch *pebble.Batch }

var _ stateful.BatchWriter = batchWriter{}

// Set implements [stateful.BatchWriter].
func (w batchWriter) Set(key, value []byte) error { return w.batch.Set(key, value, nil) }

// Delete implements [stateful.BatchWriter].
func (w batchWriter) Delete(key []byte) error { return w.batch.Delete(key, nil) }
