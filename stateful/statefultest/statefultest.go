// Package statefultest checks that a [stateful.Backend] keeps the promises in its
// documentation, and gives backends whose commits fail.
package statefultest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pondage/pondage/stateful"
)

// Reopener is implemented by backends that can be tested for what survives a
// crash. TestBackend then crashes them too.
type Reopener interface {
	stateful.Backend
	// Reopen crashes the backend, which is closed from then on, and returns one on
	// what survived: every commit that was reported durable, and of the others
	// none or some, in order.
	Reopen(t TB) stateful.Backend
}

// TB is the part of [testing.TB] that a [Reopener] needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// TestBackend runs every promise in the docs of [stateful.Backend],
// [stateful.Store] and [stateful.Pending] against the empty backends that open
// returns. It closes them.
func TestBackend(t *testing.T, open func(*testing.T) stateful.Backend) {
	for _, c := range checks {
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
	t.Run("like a map under random commits and restarts", func(t *testing.T) { testModel(t, open) })
}

type check struct {
	promise string
	check   func(*testing.T, stateful.Backend)
}

var checks = slices.Concat(readChecks, commitChecks, ownerChecks)

var ctx = context.Background()

var clicks = stateful.TaskID{App: "app", Handler: "clicks", Partition: 1}

func openTask(t *testing.T, b stateful.Backend, id stateful.TaskID) (stateful.Store, stateful.Head) {
	t.Helper()
	s, head, err := b.Open(ctx, id)
	if err != nil {
		t.Fatalf("open %s: %v", id, err)
	}
	return s, head
}

// put is a write of strings; an empty value is one of length 0.
func put(key, value string) stateful.Write {
	return stateful.Write{Key: key, Value: append([]byte{}, value...)}
}

func del(key string) stateful.Write { return stateful.Write{Key: key} }

// commit submits and waits.
func commit(t *testing.T, s stateful.Store, seq uint64, writes ...stateful.Write) {
	t.Helper()
	if err := submit(s, seq, writes...).Wait(ctx); err != nil {
		t.Fatalf("commit %d: %v", seq, err)
	}
}

func submit(s stateful.Store, seq uint64, writes ...stateful.Write) stateful.Pending {
	return s.Submit(ctx, stateful.Commit{Seq: seq, Token: token(seq), Writes: writes})
}

func token(seq uint64) uint64 { return seq*0x9e3779b97f4a7c15 + 1 }

// get returns the value of one key as a string, "-" when it is missing.
func get(t *testing.T, s stateful.Store, key string) string {
	t.Helper()
	values, err := s.Get(ctx, key)
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	if len(values) != 1 {
		t.Fatalf("get of one key returned %d values", len(values))
	}
	if values[0] == nil {
		return "-"
	}
	return string(values[0])
}

func wantGet(t *testing.T, s stateful.Store, key, want string) {
	t.Helper()
	if got := get(t, s, key); got != want {
		t.Errorf("get %q = %q, want %q", key, got, want)
	}
}

// scan returns the entries as "key=value".
func scan(s stateful.Store, from, to string) ([]string, error) {
	var got []string
	for e, err := range s.Scan(ctx, from, to) {
		if err != nil {
			return got, err
		}
		if e.Value == nil {
			return got, fmt.Errorf("the value of %q is nil", e.Key)
		}
		got = append(got, e.Key+"="+string(e.Value))
	}
	return got, nil
}

func wantScan(t *testing.T, s stateful.Store, from, to string, want ...string) {
	t.Helper()
	got, err := scan(s, from, to)
	if err != nil {
		t.Fatalf("scan [%q, %q): %v", from, to, err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("scan [%q, %q)\n%q\nwant\n%q", from, to, got, want)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// errorsOf returns what every call of a store says, in the order Get, Scan,
// Submit.
func errorsOf(s stateful.Store, seq uint64) map[string]error {
	_, getErr := s.Get(ctx, "a")
	_, scanErr := scan(s, "", "")
	return map[string]error{"get": getErr, "scan": scanErr, "submit": submit(s, seq).Wait(ctx)}
}
