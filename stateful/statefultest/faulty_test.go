package statefultest_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/statefultest"
)

var ctx = context.Background()

var task = stateful.TaskID{App: "app", Handler: "h"}

// outcomes submits n commits, opens after each lost one, and tells for each "ok", "before" or
// "after".
func outcomes(t *testing.T, seed uint64, share float64, n int) []string {
	t.Helper()
	b := statefultest.Faulty(memory.New(), seed, share)
	defer b.Close()
	s, head, err := b.Open(ctx, task)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range n {
		c := stateful.Commit{Seq: head.Seq + 1, Token: 7, Writes: []stateful.Write{{Key: "k", Value: []byte("v")}}}
		err := s.Submit(ctx, c).Wait(ctx)
		if err == nil {
			head.Seq++
			got = append(got, "ok")
			continue
		}
		if !errors.Is(err, stateful.ErrCommitUnknown) {
			t.Fatal(err)
		}
		if err := s.Submit(ctx, c).Wait(ctx); !errors.Is(err, stateful.ErrCommitUnknown) {
			t.Errorf("a lost commit can be repeated without an open: %v", err)
		}
		if _, err := s.Get(ctx, "k"); !errors.Is(err, stateful.ErrCommitUnknown) {
			t.Errorf("get after a lost commit says %v", err)
		}
		for _, err := range s.Scan(ctx, "", "") {
			if !errors.Is(err, stateful.ErrCommitUnknown) {
				t.Errorf("scan after a lost commit says %v", err)
			}
		}
		before := head.Seq
		if s, head, err = b.Open(ctx, task); err != nil {
			t.Fatal(err)
		}
		got = append(got, map[uint64]string{0: "before", 1: "after"}[head.Seq-before])
	}
	return got
}

func TestFaultyLosesTheShareAsked(t *testing.T) {
	const n = 2000
	for _, share := range []float64{0, 0.3, 1} {
		count := map[string]int{}
		for _, o := range outcomes(t, 5, share, n) {
			count[o]++
		}
		for what, want := range map[string]float64{"ok": 1 - share, "before": share / 2, "after": share / 2} {
			if got := float64(count[what]) / n; got < want-0.05 || got > want+0.05 {
				t.Errorf("share %g: %s is %g, want about %g", share, what, got, want)
			}
		}
	}
}

func TestFaultyIsTheSameForASeed(t *testing.T) {
	first := outcomes(t, 1, 0.5, 100)
	if !slices.Equal(first, outcomes(t, 1, 0.5, 100)) {
		t.Error("one seed had two outcomes")
	}
	if slices.Equal(first, outcomes(t, 2, 0.5, 100)) {
		t.Error("two seeds had one outcome")
	}
}

func TestFaultyWithoutFaultsKeepsThePromises(t *testing.T) {
	statefultest.TestBackend(t, func(*testing.T) stateful.Backend { return statefultest.Faulty(memory.New(), 1, 0) })
}
