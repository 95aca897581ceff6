package remote

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/pondage/pondage/stateful"
)

// ErrLost is what an error wraps when the server no longer has what it had acknowledged: data
// was removed, or a failover or restart went back to an older copy.
var ErrLost = errors.New("the server lost state that it had acknowledged")

// Head is who owns a task and how far it came.
type Head struct {
	stateful.Head
	// Owner is random. After a loss of data two owners may have one epoch.
	Owner uint64
}

// NewOwner returns a random number.
func NewOwner() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// String names the commit.
func (h Head) String() string { return fmt.Sprintf("commit %d of epoch %d", h.Seq, h.Epoch) }

// Check compares the head that the server has, the zero Head for none, with h, the last that it
// acknowledged to this owner. It returns nil when this is still the owner.
func (h Head) Check(has Head) error {
	switch {
	case has.Epoch == 0:
		return lost("nothing of the task is there, not even its head", h)
	case has.Epoch > h.Epoch:
		return fmt.Errorf("epoch %d has it, this is %d: %w", has.Epoch, h.Epoch, stateful.ErrFenced)
	case has.Epoch < h.Epoch || has.Owner == h.Owner && has.Seq < h.Seq:
		return lost(has.String()+" is the last it has", h)
	case has.Owner != h.Owner:
		return fmt.Errorf("another owner has epoch %d, too, so %w: %w", has.Epoch, ErrLost, stateful.ErrFenced)
	}
	return nil
}

// Surpassed returns an error when now, what the server has of a task, is less than h, which it
// had acknowledged.
func (h Head) Surpassed(now Head) error {
	switch {
	case h.Epoch == 0 || now.Epoch >= h.Epoch && now.Seq >= h.Seq:
		return nil
	case now.Epoch == 0:
		return lost("nothing of the task is there, not even its head", h)
	}
	return lost(now.String()+" is the last it has", h)
}

func lost(what string, known Head) error {
	return fmt.Errorf("%w: %s, and %s was the last known: restore the server's data, from a copy or a node that still has it; or, "+
		"to go on from what is left, start this process again (docs/backends.md tells what that may repeat)", ErrLost, what, known)
}

// Known is the last that a server acknowledged of a task to this process. The zero Known knows
// nothing. It may be used by several goroutines.
type Known struct {
	mu   sync.Mutex
	head Head
	line *Line // of the last owner
}

// Own takes note of a new owner's line and its head.
func (k *Known) Own(l *Line, h Head) {
	k.Set(h)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.line = l
}

// LastUnderWay returns the last commit of this process that has no outcome yet, nil when there is none.
func (k *Known) LastUnderWay() *Pending {
	k.mu.Lock()
	l := k.line
	k.mu.Unlock()
	if l == nil {
		return nil
	}
	last, _ := l.Readable() // after a failure none is under way
	return last
}

// Get returns the last head.
func (k *Known) Get() Head {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.head
}

// Set takes note of a head, unless it is an older one.
func (k *Known) Set(h Head) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.Epoch > k.head.Epoch || h.Epoch == k.head.Epoch && h.Seq > k.head.Seq {
		k.head = h
	}
}
