package pebble

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/stateful"
)

// A commit that passed the first check of the owner and then waits for the lock
// must not land behind the epoch that was raised meanwhile.
func TestACommitCannotLandBehindANewEpoch(t *testing.T) {
	ctx := context.Background()
	b, err := New(ctx, Config{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	id := stateful.TaskID{App: "app", Handler: "h"}
	old, _, err := b.Open(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	tk := old.(*store).t
	tk.mu.Lock()
	said := make(chan error)
	go func() {
		c := stateful.Commit{Seq: 1, Writes: []stateful.Write{{Key: "a", Value: []byte("old")}}}
		said <- old.Submit(ctx, c).Wait(ctx)
	}()
	for inside := 0; inside == 0; runtime.Gosched() {
		b.gate.mu.Lock()
		inside = b.gate.inside
		b.gate.mu.Unlock()
	}
	// What open does first; the rest of it needs the lock.
	for range 100 {
		runtime.Gosched()
	}
	tk.owner.Store(nil)
	tk.mu.Unlock()
	if err := <-said; !errors.Is(err, stateful.ErrFenced) {
		t.Errorf("the old owner's commit says %v", err)
	}
	s, head, err := b.Open(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if head.Seq != 0 {
		t.Errorf("the head is %+v: the old owner's commit landed", head)
	}
	if v, err := s.Get(ctx, "a"); err != nil || v[0] != nil {
		t.Errorf("a = %q, %v", v, err)
	}
}
