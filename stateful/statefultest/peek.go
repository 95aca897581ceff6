package statefultest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pondage/pondage/stateful"
)

// TestPeeker runs every promise in the docs of [stateful.Peeker] against the empty backends that
// open returns. It closes them.
func TestPeeker(t *testing.T, open func(*testing.T) stateful.Backend) {
	for _, c := range []check{
		{"it finds every task of the app, in order, and no other", checkPeekFinds},
		{"it finds what was committed last", checkPeekValue},
		{"it fences nobody", checkPeekFences},
		{"it can be left early", checkPeekLeft},
		{"a context that ended ends it", checkPeekContext},
		{"a closed backend says ErrClosed", checkPeekClosed},
	} {
		t.Run(c.promise, func(t *testing.T) {
			b := open(t)
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Errorf("close the backend: %v", err)
				}
			})
			c.check(t, b)
		})
	}
}

// peek returns what is found, as "handler/partition=value", "-" for a missing one.
func peek(b stateful.Backend, app, key string) (got []string, err error) {
	for p, err := range b.(stateful.Peeker).Peek(ctx, app, key) {
		if err != nil {
			return got, err
		}
		value := "-"
		if p.Value != nil {
			value = string(p.Value)
		}
		if p.Task.App != app {
			return got, fmt.Errorf("it found a task of the app %q", p.Task.App)
		}
		got = append(got, fmt.Sprintf("%s/%d=%s", p.Task.Handler, p.Task.Partition, value))
	}
	return got, nil
}

func wantPeek(t *testing.T, b stateful.Backend, app, key string, want ...string) {
	t.Helper()
	if got, err := peek(b, app, key); err != nil || !slices.Equal(got, want) {
		t.Errorf("peek at %q of %q = %q, %v, want %q", key, app, got, err, want)
	}
}

func checkPeekFinds(t *testing.T, b stateful.Backend) {
	wantPeek(t, b, "app", "k")
	for _, id := range []stateful.TaskID{
		{App: "app", Handler: "b", Partition: 300},
		{App: "app", Handler: "b", Partition: 2},
		{App: "app", Handler: "a", Partition: 0},
		{App: "app", Handler: "a.1", Partition: 0},
		{App: "ap", Handler: "z", Partition: 0},
		{App: "app2", Handler: "z", Partition: 0},
	} {
		s, _ := openTask(t, b, id)
		if id.Handler != "a.1" {
			commit(t, s, 1, put("k", id.Handler), put("kk", "other"))
		}
	}
	wantPeek(t, b, "app", "k", "a/0=a", "a.1/0=-", "b/2=b", "b/300=b")
	wantPeek(t, b, "none", "k")
}

func checkPeekValue(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	wantPeek(t, b, clicks.App, "k", clicks.Handler+"/1=-")
	commit(t, s, 1, put("k", ""))
	wantPeek(t, b, clicks.App, "k", clicks.Handler+"/1=")
	commit(t, s, 2, put("k", "2"))
	wantPeek(t, b, clicks.App, "k", clicks.Handler+"/1=2")
	commit(t, s, 3, del("k"))
	wantPeek(t, b, clicks.App, "k", clicks.Handler+"/1=-")
}

func checkPeekFences(t *testing.T, b stateful.Backend) {
	s, head := openTask(t, b, clicks)
	commit(t, s, 1, put("k", "1"))
	wantPeek(t, b, clicks.App, "k", clicks.Handler+"/1=1")
	commit(t, s, 2, put("k", "2"))
	if _, again := openTask(t, b, clicks); again.Epoch != head.Epoch+1 {
		t.Errorf("the epoch is %d, want %d", again.Epoch, head.Epoch+1)
	}
}

func checkPeekLeft(t *testing.T, b stateful.Backend) {
	for _, n := range []int32{1, 2} {
		id := clicks
		id.Partition = n
		openTask(t, b, id)
	}
	for _, err := range b.(stateful.Peeker).Peek(ctx, clicks.App, "k") {
		if err != nil {
			t.Error(err)
		}
		break
	}
	wantPeek(t, b, clicks.App, "k", clicks.Handler+"/1=-", clicks.Handler+"/2=-")
}

func checkPeekContext(t *testing.T, b stateful.Backend) {
	openTask(t, b, clicks)
	done, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range b.(stateful.Peeker).Peek(done, clicks.App, "k") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it says %v, want %v", err, context.Canceled)
		}
		return
	}
	t.Error("it says nothing")
}

func checkPeekClosed(t *testing.T, b stateful.Backend) {
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := peek(b, clicks.App, "k")
	wantErr(t, "peek", err, stateful.ErrClosed)
}
