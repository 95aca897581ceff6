package redis

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pondage/pondage/stateful"
)

// ErrLost is what an error wraps when the server no longer has what it had acknowledged: the
// data was flushed or evicted, or a failover or restart went back to an older copy. The task stays
// closed, for to go on would repeat and lose effects unnoticed.
var ErrLost = errors.New("the server lost state that it had acknowledged")

const (
	headVersion = 1
	headSize    = 1 + 4*8
)

// headField is the field of a task's hash that has its head; see field.
const headField = "\x00h"

// head is who owns a task and how far it came. Scripts compare heads as a whole, so a
// commit can neither land twice nor behind another owner, however late it arrives.
type head struct {
	stateful.Head
	// owner is random. After a loss of data two owners may have one epoch.
	owner uint64
}

func newOwner() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

func (h head) String() string { return fmt.Sprintf("commit %d of epoch %d", h.Seq, h.Epoch) }

// encode returns what is stored.
func (h head) encode() string {
	b := make([]byte, 0, headSize)
	b = append(b, headVersion)
	for _, n := range []uint64{h.Epoch, h.owner, h.Seq, h.Token} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return string(b)
}

// parseHead is the inverse of encode; nothing stored is the zero head.
func parseHead(s string) (head, error) {
	switch {
	case s == "":
		return head{}, nil
	case s[0] > headVersion:
		return head{}, fmt.Errorf("the head's version %d is newer than %d, the newest this release knows: "+
			"run the release that wrote it, or a newer one", s[0], headVersion)
	case len(s) != headSize || s[0] != headVersion:
		return head{}, fmt.Errorf("the head %x is damaged: restore the server's data from a copy", s)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64([]byte(s[1+8*i : 9+8*i])) }
	return head{stateful.Head{Epoch: n(0), Seq: n(2), Token: n(3)}, n(1)}, nil
}

// check compares the head that the server has with mine, the last that it acknowledged
// to this owner. It returns nil when this is still the owner.
func (mine head) check(s string) (head, error) {
	has, err := parseHead(s)
	switch {
	case err != nil:
		return has, err
	case s == "":
		return has, lost("nothing of the task is there, not even its head", mine)
	case has.Epoch > mine.Epoch:
		return has, fmt.Errorf("epoch %d has it, this is %d: %w", has.Epoch, mine.Epoch, stateful.ErrFenced)
	case has.Epoch < mine.Epoch || has.owner == mine.owner && has.Seq < mine.Seq:
		return has, lost(has.String()+" is the last it has", mine)
	case has.owner != mine.owner:
		return has, fmt.Errorf("another owner has epoch %d, too, so %w: %w", has.Epoch, ErrLost, stateful.ErrFenced)
	}
	return has, nil
}

func lost(what string, known head) error {
	return fmt.Errorf("%w: %s, and %s was the last known: restore the server's data, from a copy or a node that still has it; or, "+
		"to go on from what is left, start this process again (docs/backends.md tells what that may repeat)", ErrLost, what, known)
}

// field is the hash field of a key. Keys that begin with a zero byte get another in front, which keeps the
// order of all and leaves the fields of one zero byte and something else to us.
func field(key string) string {
	if key != "" && key[0] == 0 {
		return "\x00" + key
	}
	return key
}

// unfield is the inverse of field, for fields of entries.
func unfield(f string) string {
	if f != "" && f[0] == 0 {
		return f[1:]
	}
	return f
}

// isEntry reports whether a field is that of an entry.
func isEntry(f string) bool { return len(f) < 2 || f[0] != 0 || f[1] == 0 }
