package stateful

import (
	"errors"
	"slices"
	"sync"
)

// pipeline holds the commits of a task that are not known to be durable, in order, and what became of the others:
// whether the task must be opened again, or must not be. It guards itself, for many wait for one commit.
type pipeline struct {
	mu       sync.Mutex
	life     uint64 // rises when the task is shut
	inflight []*flight
	buffers  []buffer // of commits that are done
	broken   error    // why the task must be opened again
	closed   error    // why it must not be
}

// maxInflight is how many commits of a task may be on their way. The batches that a source
// delivers at once need few; an advance over many commits would hold all of them.
const maxInflight = 16

// buffer is the memory of a commit, used again once it is done.
type buffer struct {
	writes []Write
	arena  []byte
	rows   []Row
}

// again returns b's memory for another commit.
func (b buffer) again() buffer {
	clear(b.writes)
	clear(b.rows)
	return buffer{b.writes[:0], b.arena[:0], b.rows[:0]}
}

// add takes f in. It returns memory for the next commit and, when there are too many, the one to wait for.
func (l *pipeline) add(f *flight) (next buffer, oldest *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.life = l.life
	l.inflight = append(l.inflight, f)
	if n := len(l.buffers); n > 0 {
		next, l.buffers = l.buffers[n-1], l.buffers[:n-1]
	}
	if len(l.inflight) > maxInflight {
		oldest = l.inflight[0]
	}
	return next, oldest
}

// land takes out f and all before it, which are durable, in order, and calls done with each.
func (l *pipeline) land(f *flight, done func(*flight)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.inflight) > 0 && l.inflight[0].seq <= f.seq {
		g := l.inflight[0]
		l.inflight = slices.Delete(l.inflight, 0, 1) // few, and the slice keeps its memory
		done(g)
		if len(l.buffers) < 8 {
			l.buffers = append(l.buffers, g.buf.again())
		}
	}
}

// before returns the first commit on its way, when it is before f.
func (l *pipeline) before(f *flight) *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.life == l.life && len(l.inflight) > 0 && l.inflight[0].seq < f.seq {
		return l.inflight[0]
	}
	return nil
}

// fail takes out f, which failed with err, and all behind it: the task must be opened again. It calls first when that is
// news, reports whether the task had not been opened again since f was submitted, and returns what sinks reserved for
// commits that failed for certain; of others only opening the task again tells.
func (l *pipeline) fail(f *flight, err error, first func()) (current bool, reserved []Prepared) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.life != l.life {
		return false, nil
	}
	if l.broken == nil {
		l.broken = err
		first()
	}
	if l.closed == nil && errors.Is(err, ErrFenced) {
		l.closed = err // at once: nobody may open it in between
	}
	for i, g := range l.inflight {
		if g != f {
			continue
		}
		if !errors.Is(err, ErrCommitUnknown) {
			for _, lost := range l.inflight[i:] {
				reserved = append(reserved, lost.prepared...)
			}
		}
		l.inflight = slices.Delete(l.inflight, i, len(l.inflight))
		break
	}
	return true, reserved
}

// last returns the commit that everything before it depends on, nil when all is
// durable, and an error when one of them failed.
func (l *pipeline) last() (*flight, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return nil, TaskFault(l.broken)
	}
	if n := len(l.inflight); n > 0 {
		return l.inflight[n-1], nil
	}
	return nil, nil
}

// breaks says why the task must be opened again. Only the first reason counts, as in closes.
func (l *pipeline) breaks(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = why
	}
}

// closes says why the task must not be opened again.
func (l *pipeline) closes(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed == nil {
		l.closed = why
	}
}

// state returns why the task must be opened again, and why it must not be.
func (l *pipeline) state() (broken, closed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken, l.closed
}

// begin forgets the commits of the life that ends.
func (l *pipeline) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inflight, l.buffers, l.broken = nil, nil, nil
	l.life++
}
