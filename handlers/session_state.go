package handlers

import (
	"math"

	"github.com/pondage/pondage/stateful/window"
)

// session is what is kept of one session besides its bounds.
type session[A any] struct {
	value A
	pane  uint32 // number of the next result of its window
	ended bool   // it has ended, and takes only what is late
	kept  *kept[A]
}

// keySessions are the open sessions of one key. Nearly always there is one, so the latest is
// kept in place and a key costs one entry; those before it have entries of their own.
type keySessions[A any] struct {
	window.Span
	session[A]
	look   int64           // the key is in the due index under this time, and nothing of it is due before
	before *[]olderSession // nil when there is none; never changed
}

// olderSession is one that is not the latest of its key.
type olderSession struct {
	window.Span
	id    uint32 // names its entry
	ended bool   // as in its entry
}

// older returns the sessions before the latest, in order of time.
func (k *keySessions[A]) older() []olderSession {
	if k.before == nil {
		return nil
	}
	return *k.before
}

func (k *keySessions[A]) len() int { return len(k.older()) + 1 }

// at returns the i-th session, in order of time.
func (k *keySessions[A]) at(i int) (s window.Span, ended bool) {
	if older := k.older(); i < len(older) {
		return older[i].Span, older[i].ended
	}
	return k.Span, k.ended
}

// due returns what is due first of all sessions of the key, and of which.
func (k *keySessions[A]) due(lateness int64) (at int64, kind uint8, i int) {
	at = math.MaxInt64
	for n := range k.len() {
		s, ended := k.at(n)
		t, what := s.Last(), fireKind
		if ended {
			t, what = t+lateness, cleanKind
		}
		if t < at || t == at && what < kind {
			at, kind, i = t, what, n
		}
	}
	return at, kind, i
}

// replace puts those of with in the place of older[from:to].
func (k *keySessions[A]) replace(from, to int, with ...olderSession) {
	was := k.older()
	n := len(was) - (to - from) + len(with)
	if n == 0 {
		k.before = nil
		return
	}
	older := make([]olderSession, 0, n)
	older = append(append(append(older, was[:from]...), with...), was[to:]...)
	k.before = &older
}

// freeID returns one that no older session has.
func (k *keySessions[A]) freeID() uint32 {
	id := uint32(0)
	for _, o := range k.older() {
		id = max(id, o.id+1)
	}
	return id
}
