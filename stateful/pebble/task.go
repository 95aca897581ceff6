package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
)

// headVersion is the first byte of a task's head.
const headVersion = 1

const headSize = 1 + 3*8

// task is what the owners of one task share.
type task struct {
	headKey []byte
	prefix  []byte // of its entries
	end     []byte // behind its entries

	// mu holds from the check of the owner until the batch is applied, so that a
	// commit of an old owner cannot land behind a new epoch.
	mu    sync.Mutex
	owner atomic.Pointer[store]
}

func newTask(id stateful.TaskID) (*task, error) {
	var errs []error
	for _, n := range []struct{ what, name string }{{"app", id.App}, {"handler", id.Handler}} {
		if n.name == "" || strings.Contains(n.name, "\x00") {
			errs = append(errs, fmt.Errorf("the %s's name %q must have a character and no zero byte", n.what, n.name))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	name := id.App + "\x00" + id.Handler + "\x00" + string(binary.BigEndian.AppendUint32(nil, uint32(id.Partition)))
	t := &task{
		headKey: append([]byte{pebbledb.SpaceState, 0}, name...),
		prefix:  append([]byte{pebbledb.SpaceState}, name...),
	}
	t.end = successor(t.prefix)
	return t, nil
}

// successor returns the first key behind all that begin with prefix, whose first
// byte is not 0xff.
func successor(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return end
}

// open makes a new owner. The raised epoch is durable, and so is every commit
// before it, when open returns.
func (t *task) open(b *Backend) (*store, stateful.Head, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// From here on the old owner is fenced, also if this fails.
	t.owner.Store(nil)
	head, err := t.readHead(b.db)
	if err != nil {
		return nil, stateful.Head{}, err
	}
	head.Epoch++
	if err := b.db.Set(t.headKey, appendHead(nil, head), b.db.WriteOptions()); err != nil {
		return nil, stateful.Head{}, fmt.Errorf("write the epoch: %w", err)
	}
	s := newStore(b, t, head)
	t.owner.Store(s)
	return s, head, nil
}

func (t *task) readHead(db *pebbledb.DB) (stateful.Head, error) {
	v, closer, err := db.Get(t.headKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return stateful.Head{}, nil
	}
	if err != nil {
		return stateful.Head{}, fmt.Errorf("read the head: %w", err)
	}
	defer closer.Close() //nolint:errcheck // of a read
	return parseHead(v)
}

func appendHead(b []byte, h stateful.Head) []byte {
	b = append(b, headVersion)
	b = binary.BigEndian.AppendUint64(b, h.Epoch)
	b = binary.BigEndian.AppendUint64(b, h.Seq)
	return binary.BigEndian.AppendUint64(b, h.Token)
}

func parseHead(v []byte) (stateful.Head, error) {
	if len(v) > 0 && v[0] > headVersion {
		return stateful.Head{}, fmt.Errorf("the head's version %d is newer than %d, the newest this release knows: "+
			"run the release that wrote it, or a newer one", v[0], headVersion)
	}
	if len(v) != headSize || v[0] != headVersion {
		return stateful.Head{}, fmt.Errorf("the head %x is damaged: restore the directory from a copy", v)
	}
	return stateful.Head{
		Epoch: binary.BigEndian.Uint64(v[1:]),
		Seq:   binary.BigEndian.Uint64(v[9:]),
		Token: binary.BigEndian.Uint64(v[17:]),
	}, nil
}
