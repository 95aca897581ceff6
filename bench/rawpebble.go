package main

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
)

// recorder is a backend that remembers what is committed through it.
type recorder struct {
	stateful.Backend
	mu    sync.Mutex
	tasks []*recording
}

// recording holds the commits of one task, without pointers.
type recording struct {
	stateful.Store
	partition int32
	commits   []int // number of writes in each
	sizes     []writeSize
	mem       []byte
}

type writeSize struct {
	key, value int32 // value -1: deleted
}

func (r *recorder) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := r.Backend.Open(ctx, id)
	if err != nil {
		return nil, head, err
	}
	rec := &recording{Store: s, partition: id.Partition}
	r.mu.Lock()
	r.tasks = append(r.tasks, rec)
	r.mu.Unlock()
	return rec, head, nil
}

func (r *recording) Submit(ctx context.Context, c stateful.Commit) stateful.Pending {
	r.commits = append(r.commits, len(c.Writes))
	for i := range c.Writes {
		w := &c.Writes[i]
		size := writeSize{int32(len(w.Key)), int32(len(w.Value))}
		r.mem = append(append(r.mem, w.Key...), w.Value...)
		if w.Value == nil {
			size.value = -1
		}
		r.sizes = append(r.sizes, size)
	}
	return r.Store.Submit(ctx, c)
}

// record runs the path once and keeps its commits.
func record(c path, total int64) (*recorder, error) {
	r := &recorder{}
	open := c.backend
	c.backend = func() (stateful.Backend, func() error, error) {
		b, closeBackend, err := open()
		r.Backend = b
		return r, closeBackend, err
	}
	var w stopwatch
	_, err := c.run(total, &w, nil)
	return r, err
}

// replay makes the recorded commits by hand: a goroutine for each partition, a synced
// batch for each commit, up to inFlight of them under way.
func (r *recorder) replay(dir string, events int64, w *stopwatch) (sample, error) {
	tmp, remove, err := tempDir(dir)
	if err != nil {
		return sample{}, err
	}
	db, err := pebbledb.Open(pebbledb.Config{Dir: tmp})
	if err != nil {
		return sample{}, errors.Join(err, remove())
	}
	errs := make([]error, len(r.tasks))
	w.start()
	var wg sync.WaitGroup
	for i, t := range r.tasks {
		wg.Go(func() { errs[i] = t.replay(db) })
	}
	wg.Wait()
	s := w.stop(events)
	return s, errors.Join(errors.Join(errs...), db.Close(), remove())
}

func (r *recording) replay(db *pebbledb.DB) error {
	prefix := binary.BigEndian.AppendUint32([]byte("sbench\x00count\x00"), uint32(r.partition))
	key := append([]byte(nil), prefix...)
	var waiting []*pebble.Batch
	settle := func() error {
		b := waiting[0]
		waiting = waiting[1:]
		return errors.Join(db.SyncWait(b), b.Close())
	}
	mem, sizes := r.mem, r.sizes
	for _, n := range r.commits {
		b := db.NewBatch()
		for _, s := range sizes[:n] {
			key = append(key[:len(prefix)], mem[:s.key]...)
			mem = mem[s.key:]
			if s.value < 0 {
				if err := b.Delete(key, nil); err != nil {
					return err
				}
				continue
			}
			if err := b.Set(key, mem[:s.value], nil); err != nil {
				return err
			}
			mem = mem[s.value:]
		}
		sizes = sizes[n:]
		if err := db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
			return err
		}
		if waiting = append(waiting, b); len(waiting) == inFlight {
			if err := settle(); err != nil {
				return err
			}
		}
	}
	for len(waiting) > 0 {
		if err := settle(); err != nil {
			return err
		}
	}
	return nil
}

// writes returns how many there are.
func (r *recorder) writes() (n, commits int) {
	for _, t := range r.tasks {
		n += len(t.sizes)
		commits += len(t.commits)
	}
	return n, commits
}
