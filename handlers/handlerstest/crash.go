package handlerstest

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"github.com/pondage/pondage/stateful"
)

// Point is a place where the processor can be made to crash.
type Point int

// The points, in the order in which a batch meets them.
const (
	// BeforeCommit: the commit never reaches the backend.
	BeforeCommit Point = iota + 1
	// AfterCommit: the commit took effect and its answer was lost.
	AfterCommit
	// BeforePublish: the commit is known to be durable and its outputs were not published.
	BeforePublish
	// AfterPublish: the outputs were published and nobody remembers it but the sink.
	AfterPublish
)

// Points are all points.
var Points = []Point{BeforeCommit, AfterCommit, BeforePublish, AfterPublish}

func (p Point) String() string {
	switch p {
	case BeforeCommit:
		return "before-commit"
	case AfterCommit:
		return "after-commit"
	case BeforePublish:
		return "before-publish"
	case AfterPublish:
		return "after-publish"
	}
	return "unknown"
}

// CrashAt makes the processor crash the next time it comes to p: all it has in memory is
// lost. The kit then starts another on the same backend and delivers again what was not
// acknowledged.
func (d *Driver) CrashAt(p Point) { d.CrashAtNth(p, 1) }

// CrashAtNth is CrashAt for the n-th time from now that the processor comes to p.
func (d *Driver) CrashAtNth(p Point, n int) { d.armed = armed{p, n} }

// Crashed reports whether the crash asked for last has happened.
func (d *Driver) Crashed() bool { return d.armed.left == 0 }

type armed struct {
	at   Point
	left int
}

var errCrashed = errors.New("handlerstest: the processor crashed here")

// life is the time from a start to a crash: what was made in it does nothing after it.
type life struct {
	k      *kit
	p      *stateful.Processor
	ctx    context.Context
	cancel context.CancelFunc
	dead   atomic.Bool
}

func newLife(k *kit) *life {
	policy := k.policy
	ctx, cancel := context.WithCancel(context.Background())
	ctx = stateful.WithPolicy(ctx, func(p *stateful.Policy) { *p = policy })
	return &life{k: k, ctx: ctx, cancel: cancel}
}

// crash ends the life at once: from here on nothing reaches backend or sink.
func (l *life) crash() {
	l.dead.Store(true)
	l.cancel()
}

// end lets go of what the life held.
func (l *life) end() {
	l.crash()
	_ = l.p.Close(context.Background()) // it cannot commit or publish; that is the point
}

// hit crashes when it is time to.
func (l *life) hit(p Point) bool {
	a := &l.k.armed
	if l.dead.Load() || a.at != p || a.left == 0 {
		return false
	}
	if a.left--; a.left > 0 {
		return false
	}
	l.crash()
	return true
}

func (l *life) backend(b stateful.Backend) stateful.Backend { return mortalBackend{b, l} }

type mortalBackend struct {
	stateful.Backend
	l *life
}

func (b mortalBackend) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	if b.l.dead.Load() {
		return nil, stateful.Head{}, errCrashed
	}
	s, head, err := b.Backend.Open(ctx, id)
	if err != nil {
		return nil, stateful.Head{}, err
	}
	return mortalStore{s, b.l}, head, nil
}

type mortalStore struct {
	stateful.Store
	l *life
}

func (s mortalStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	if s.l.dead.Load() {
		return nil, errCrashed
	}
	return s.Store.Get(ctx, keys...)
}

func (s mortalStore) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	if s.l.dead.Load() {
		return func(yield func(stateful.Entry, error) bool) { yield(stateful.Entry{}, errCrashed) }
	}
	return s.Store.Scan(ctx, from, to)
}

func (s mortalStore) Submit(ctx context.Context, c stateful.Commit) stateful.Pending {
	if s.l.dead.Load() || s.l.hit(BeforeCommit) {
		return crashed{}
	}
	pending := s.Store.Submit(ctx, c)
	if s.l.k.armed.at == AfterCommit && pending.Wait(context.WithoutCancel(ctx)) == nil && s.l.hit(AfterCommit) {
		return crashed{}
	}
	return pending
}

type crashed struct{}

func (crashed) Wait(context.Context) error { return errCrashed }
