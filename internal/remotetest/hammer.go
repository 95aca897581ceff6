// Package remotetest is what the tests of backends on a server share: what must hold whatever the
// network, the server and other owners do.
package remotetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// Task is the one that is tested.
var Task = stateful.TaskID{App: "app", Handler: "h", Partition: 7}

// patience is how long something may take that is waited for, on a busy machine.
const patience = 60 * time.Second

// Hammer commits to [Task], several commits at once, and opens it again whenever one
// fails, while somebody disturbs it. After each open it checks the whole state: nothing that was
// acknowledged is gone, nothing is there in part, nothing twice.
type Hammer struct {
	t         *testing.T
	b         stateful.Backend
	submitted uint64
	acked     atomic.Uint64
	opens     int
	unknown   int // outcomes
	landed    int // opens that found more than was acknowledged
	stopping  context.CancelFunc
	done      chan struct{}
}

const hammerKeys = 30

func hammerToken(seq uint64) uint64 { return seq * 0x9e3779b97f4a7c15 }

// StartHammer hammers until Stop. b belongs to the caller.
func StartHammer(t *testing.T, b stateful.Backend) *Hammer {
	stopping, cancel := context.WithCancel(context.Background())
	h := &Hammer{t: t, b: b, stopping: cancel, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		for stopping.Err() == nil && !t.Failed() {
			if s := h.open(); s != nil {
				h.commit(stopping, s)
			}
		}
		h.open()
	}()
	return h
}

// Stop waits for the last checks. With unknown, some outcomes must have been.
func (h *Hammer) Stop(unknown bool) {
	h.t.Helper()
	h.stopping()
	<-h.done
	h.t.Logf("%d commits, %d opens, %d unknown outcomes, %d opens found more than was acknowledged", h.acked.Load(), h.opens, h.unknown, h.landed)
	if unknown && h.unknown == 0 {
		h.t.Error("no outcome was unknown: nothing was tested")
	}
}

// Await waits until n more commits are acknowledged.
func (h *Hammer) Await(n uint64) {
	h.t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for until := h.acked.Load() + n; h.acked.Load() < until; {
		if clock.Sleep(limit, time.Millisecond) != nil || h.t.Failed() {
			h.t.Fatalf("no progress: %d commits are acknowledged", h.acked.Load())
		}
	}
}

// open opens the task, however long that takes, and checks its state.
func (h *Hammer) open() stateful.Store {
	limit, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		s, err := h.tryOpen(limit)
		if err == nil {
			return s
		}
		if errors.Is(err, remote.ErrLost) || errors.Is(err, stateful.ErrFenced) || clock.Sleep(limit, 5*time.Millisecond) != nil {
			h.t.Errorf("open: %v", err)
			return nil
		}
	}
}

func (h *Hammer) tryOpen(ctx context.Context) (stateful.Store, error) {
	s, head, err := h.b.Open(ctx, Task)
	if err != nil {
		return nil, err
	}
	h.opens++
	n, keys := strconv.FormatUint(head.Seq, 10), 0
	for e, err := range s.Scan(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		if keys++; string(e.Value) != n {
			h.t.Errorf("after commit %d the value of %s is %s: commits are there in part", head.Seq, e.Key, e.Value)
		}
	}
	acked := h.acked.Load()
	if head.Seq < acked || head.Seq > h.submitted {
		h.t.Errorf("the last commit is %d; %d were acknowledged and %d submitted", head.Seq, acked, h.submitted)
	}
	if head.Seq > 0 && (head.Token != hammerToken(head.Seq) || keys != hammerKeys) {
		h.t.Errorf("commit %d has token %d and %d keys", head.Seq, head.Token, keys)
	}
	if head.Seq > acked {
		h.landed++
	}
	h.submitted = head.Seq
	h.acked.Store(head.Seq)
	return s, nil
}

func (h *Hammer) commit(stopping context.Context, s stateful.Store) {
	defer s.Close() //nolint:errcheck // it never fails
	var pending []stateful.Pending
	for {
		if stopping.Err() == nil {
			h.submitted++
			c := stateful.Commit{Seq: h.submitted, Token: hammerToken(h.submitted)}
			for i := range hammerKeys {
				value := strconv.AppendUint(nil, h.submitted, 10)
				c.Writes = append(c.Writes, stateful.Write{Key: fmt.Sprint("k", i), Value: value})
			}
			pending = append(pending, s.Submit(context.Background(), c))
		} else if len(pending) == 0 {
			return
		}
		if len(pending) < 4 && stopping.Err() == nil {
			continue
		}
		if err := pending[0].Wait(context.Background()); err != nil {
			if errors.Is(err, remote.ErrLost) || errors.Is(err, stateful.ErrFenced) {
				h.t.Errorf("commit: %v", err)
			}
			if errors.Is(err, stateful.ErrCommitUnknown) {
				h.unknown++
			}
			h.t.Logf("commit: %v", err)
			return
		}
		h.acked.Add(1)
		pending = pending[1:]
	}
}
