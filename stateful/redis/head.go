package redis

import (
	"encoding/binary"
	"fmt"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// ErrLost is what an error wraps when the server no longer has what it had acknowledged: the
// data was flushed or evicted, or a failover or restart went back to an older copy. The task stays
// closed, for to go on would repeat and lose effects unnoticed.
var ErrLost = remote.ErrLost

const (
	headVersion = 1
	headSize    = 1 + 4*8
)

// headField is the field of a task's hash that has its head; see field.
const headField = "\x00h"

// encodeHead returns what is stored of a head. Scripts compare it as a whole, so a commit can
// neither land twice nor behind another owner, however late it arrives.
func encodeHead(h remote.Head) string {
	b := make([]byte, 0, headSize)
	b = append(b, headVersion)
	for _, n := range []uint64{h.Epoch, h.Owner, h.Seq, h.Token} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return string(b)
}

// parseHead is the inverse of encodeHead; nothing stored is the zero head.
func parseHead(s string) (remote.Head, error) {
	switch {
	case s == "":
		return remote.Head{}, nil
	case s[0] > headVersion:
		return remote.Head{}, fmt.Errorf("the head's version %d is newer than %d, the newest this release knows: "+
			"run the release that wrote it, or a newer one", s[0], headVersion)
	case len(s) != headSize || s[0] != headVersion:
		return remote.Head{}, fmt.Errorf("the head %x is damaged: restore the server's data from a copy", s)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64([]byte(s[1+8*i : 9+8*i])) }
	return remote.Head{Head: stateful.Head{Epoch: n(0), Seq: n(2), Token: n(3)}, Owner: n(1)}, nil
}

// checkHead returns an error unless the head that a call found is this owner's. since is the last known
// to have landed before the call: what landed later it may not have seen.
func checkHead(since remote.Head, found any) (remote.Head, error) {
	text, _ := found.(string)
	has, err := parseHead(text)
	if err == nil {
		err = since.Check(has)
	}
	return has, err
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
