package remote

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/pondage/pondage/stateful"
)

// Pending is a commit on its way, a [stateful.Pending].
type Pending struct {
	Before, After Head
	Writes        []stateful.Write
	Joined        []stateful.Joined
	Bytes         int // of keys and values

	done  chan struct{} // closed once it landed or failed
	err   error
	index map[string][]byte // of Writes, once a read asked
}

// NewPending returns c as what follows before.
func NewPending(before Head, c *stateful.Commit) *Pending {
	p := &Pending{Before: before, After: before, Writes: c.Writes, Joined: c.Joined, done: make(chan struct{})}
	p.After.Seq, p.After.Token = c.Seq, c.Token
	for i := range c.Writes {
		p.Bytes += len(c.Writes[i].Key) + len(c.Writes[i].Value)
	}
	return p
}

// Wait implements [stateful.Pending].
func (p *Pending) Wait(ctx context.Context) error {
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
func (p *Pending) find(key string) ([]byte, bool) {
	if p.index == nil {
		p.index = make(map[string][]byte, len(p.Writes))
		for i := range p.Writes {
			p.index[p.Writes[i].Key] = p.Writes[i].Value
		}
	}
	v, ok := p.index[key]
	return v, ok
}

// Settled is a commit whose outcome is known at once.
type Settled struct{ Err error }

// Wait implements [stateful.Pending].
func (s Settled) Wait(context.Context) error { return s.Err }

// What is sent at once: what waited while the commits before were under way.
const (
	sendCommits = 16
	sendBytes   = 8 << 20
)

// Line is the commits of one owner of a task on their way to the server: sent one group after
// the other, in order. Its methods may be called by several goroutines, those named for it
// only by the owner.
type Line struct {
	wrap         func(seq uint64, err error) error
	enter, leave func()
	send         func([]*Pending) error
	maxWrites    int

	mu      sync.Mutex
	acked   Head       // of the last commit known to have landed
	pending []*Pending // not known to have landed, oldest first
	queue   []*Pending // the last of these, which were not sent
	sending bool       // a goroutine empties the queue
	failed  error      // of the first commit that failed
	broken  bool       // at the server: what it has is no longer known

	settled func(*Pending, error) // nil: nobody is told
}

// LineConfig configures a [Line]. All but MaxWrites is required.
type LineConfig struct {
	// Head is what the owner found.
	Head Head
	// Wrap says whose commit failed.
	Wrap func(seq uint64, err error) error
	// Enter and Leave are called around the life of the goroutine that sends.
	Enter, Leave func()
	// Send sends a group and calls Landed with each of it that landed, in order. With an error the first that
	// did not has failed, and all behind it.
	Send func([]*Pending) error
	// MaxWrites bounds the writes of a group of several commits; 0 for no bound.
	MaxWrites int
}

// NewLine returns an empty line.
func NewLine(c LineConfig) *Line {
	return &Line{wrap: c.Wrap, enter: c.Enter, leave: c.Leave, send: c.Send, maxWrites: c.MaxWrites, acked: c.Head}
}

// Add hands p to the goroutine that sends. It lives as long as something waits: a line
// without commits has none. It is for the owner.
func (l *Line) Add(p *Pending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return fmt.Errorf("an earlier one failed, open the task again: %w", l.failed)
	}
	l.pending, l.queue = append(l.pending, p), append(l.queue, p)
	if !l.sending {
		l.sending = true
		l.enter()
		go l.sendAll()
	}
	return nil
}

// OnSettled has f called when a commit landed, with nil, or failed, before those who wait are told. It must be
// called before the first commit is added.
func (l *Line) OnSettled(f func(*Pending, error)) { l.settled = f }

// done tells how p ended.
func (l *Line) done(p *Pending) {
	if l.settled != nil {
		l.settled(p, p.err)
	}
	close(p.done)
}

// Refuse notes that a commit was refused before it was added: all later ones fail too, but what the
// server has is still known. It is for the owner.
func (l *Line) Refuse(seq uint64, err error) stateful.Pending {
	err = l.wrap(seq, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	return Settled{err}
}

// sendAll sends what is queued until there is nothing.
func (l *Line) sendAll() {
	defer l.leave()
	for {
		l.mu.Lock()
		n, writes, bytes := 0, 0, 0
		for n < len(l.queue) && n < sendCommits {
			writes, bytes = writes+len(l.queue[n].Writes), bytes+l.queue[n].Bytes
			if n > 0 && (bytes > sendBytes || l.maxWrites > 0 && writes > l.maxWrites) {
				break
			}
			n++
		}
		now := l.queue[:n:n]
		if l.queue = l.queue[n:]; n == 0 {
			l.queue, l.sending = nil, false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if err := l.send(now); err != nil {
			l.fail(err)
		}
	}
}

// Landed says that the oldest commit under way landed.
func (l *Line) Landed() {
	l.mu.Lock()
	p := l.pending[0]
	l.acked = p.After
	l.pending = l.pending[1:]
	l.mu.Unlock()
	l.done(p)
}

// fail makes all that is under way fail.
func (l *Line) fail(err error) {
	l.mu.Lock()
	rest := l.pending
	err = l.wrap(rest[0].After.Seq, err)
	l.failed, l.broken = err, true
	l.pending, l.queue = nil, nil
	l.mu.Unlock()
	for i, p := range rest {
		p.err = err
		if i > 0 {
			p.err = l.wrap(p.After.Seq, fmt.Errorf("an earlier one failed, open the task again: %w", err))
		}
		l.done(p)
	}
}

// Readable returns why what the server has cannot be told, and the last of the commits that it may not
// have yet.
func (l *Line) Readable() (last *Pending, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return nil, fmt.Errorf("a commit failed, open the task again: %w", l.failed)
	}
	if n := len(l.pending); n > 0 {
		last = l.pending[n-1]
	}
	return last, nil
}

// UnderWay returns copies of what the commits under way write under keys, by their place in keys.
func (l *Line) UnderWay(keys []string) (map[int][]byte, error) {
	l.mu.Lock() // what is pending stays so, and its memory its own
	defer l.mu.Unlock()
	if l.broken {
		return nil, fmt.Errorf("a commit failed, open the task again: %w", l.failed)
	}
	if len(l.pending) == 0 {
		return nil, nil
	}
	found := make(map[int][]byte)
	for i, key := range keys {
		for _, p := range slices.Backward(l.pending) {
			if v, ok := p.find(key); ok {
				if v != nil {
					v = append([]byte{}, v...)
				}
				found[i] = v
				break
			}
		}
	}
	return found, nil
}

// Acked returns the head of the last commit known to have landed.
func (l *Line) Acked() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}
