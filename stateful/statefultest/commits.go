package statefultest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/pondage/pondage/stateful"
)

var commitChecks = []check{
	{"a commit is visible as soon as it is submitted", checkVisible},
	{"commits pipelined take effect in order", checkPipelined},
	{"a commit of nothing moves the sequence", checkEmpty},
	{"a commit out of sequence is refused", checkSequence},
	{"a refused commit leaves no trace", checkNoTrace},
	{"after a failed commit all later ones fail", checkLaterFail},
	{"a store keeps no value after the commit", checkValuesFree},
	{"a pending answers all who ask, again and again", checkWaiters},
	{"a wait ends with its context and the commit goes on", checkWaitContext},
	{"values of any size are kept", checkSizes},
}

func checkVisible(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	p := submit(s, 1, put("a", "1"))
	wantGet(t, s, "a", "1")
	wantScan(t, s, "", "", "a=1")
	if err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

func checkPipelined(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	var pending []stateful.Pending
	const n = 100
	for seq := uint64(1); seq <= n; seq++ {
		pending = append(pending, submit(s, seq, put("last", fmt.Sprint(seq)), put(fmt.Sprintf("at%03d", seq), "")))
	}
	wantGet(t, s, "last", fmt.Sprint(n))
	// The last one first: it must not be done before the others.
	for i := len(pending) - 1; i >= 0; i-- {
		if err := pending[i].Wait(ctx); err != nil {
			t.Fatalf("commit %d: %v", i+1, err)
		}
	}
	s, head := openTask(t, b, clicks)
	if head.Seq != n || head.Token != token(n) {
		t.Errorf("the head is %+v, want sequence %d and its token %d", head, n, token(n))
	}
	wantGet(t, s, "last", fmt.Sprint(n))
}

func checkEmpty(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1)
	commit(t, s, 2)
	if _, head := openTask(t, b, clicks); head.Seq != 2 || head.Token != token(2) {
		t.Errorf("the head is %+v, want sequence 2", head)
	}
}

func checkSequence(t *testing.T, b stateful.Backend) {
	for _, seq := range []uint64{0, 1, 3, 99} {
		s, head := openTask(t, b, clicks)
		if head.Seq == 0 {
			commit(t, s, 1, put("a", "1"))
		}
		if err := submit(s, seq, put("a", "x")).Wait(ctx); err == nil {
			t.Errorf("commit %d after 1 was taken", seq)
		}
		wantGet(t, s, "a", "1")
	}
	s, head := openTask(t, b, clicks)
	if head.Seq != 1 {
		t.Errorf("the head is %+v, want sequence 1", head)
	}
	commit(t, s, 2, put("a", "2"))
}

func checkNoTrace(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("a", "1"), put("b", "1"))
	c := stateful.Commit{
		Seq: 2, Token: 2, Writes: []stateful.Write{put("a", "2"), del("b"), put("c", "2")},
		Joined: []stateful.Joined{refuses{}},
	}
	if err := s.Submit(ctx, c).Wait(ctx); err == nil {
		t.Fatal("a commit was taken although what joined it refused")
	}
	wantScan(t, s, "", "", "a=1", "b=1")
	s, head := openTask(t, b, clicks)
	if head.Seq != 1 || head.Token != token(1) {
		t.Errorf("the head is %+v, want sequence 1", head)
	}
	wantScan(t, s, "", "", "a=1", "b=1")
	commit(t, s, 2, put("a", "2"))
}

// refuses is a sink that joins no commit.
type refuses struct{}

func (refuses) Join(stateful.BatchWriter) error { return fmt.Errorf("the sink refuses") }
func (refuses) Applied(error)                   { panic("Applied was called though Join failed") }
func (refuses) Durable(error)                   { panic("Durable was called though Join failed") }

func checkLaterFail(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	first := submit(s, 1, put("a", "1"))
	bad := submit(s, 7, put("a", "7"))
	later := []stateful.Pending{submit(s, 2, put("a", "2")), submit(s, 8, put("a", "8"))}
	if err := first.Wait(ctx); err != nil {
		t.Errorf("the one before failed too: %v", err)
	}
	if err := bad.Wait(ctx); err == nil {
		t.Error("commit 7 after 1 was taken")
	}
	for i, p := range later {
		if err := p.Wait(ctx); err == nil {
			t.Errorf("the %d. commit after the failed one was taken", i+1)
		}
	}
	s, head := openTask(t, b, clicks)
	if head.Seq != 1 {
		t.Errorf("the head is %+v, want sequence 1", head)
	}
	wantGet(t, s, "a", "1")
	commit(t, s, 2, put("a", "2"))
}

func checkValuesFree(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	writes := []stateful.Write{put("a", "first"), put("b", "first"), put("new", "first")}
	commit(t, s, 1, writes...)
	for i := range writes {
		copy(writes[i].Value, "xxxxx")
		writes[i] = put("z", "zzzzz")
	}
	wantScan(t, s, "", "", "a=first", "b=first", "new=first")
	again := []stateful.Write{put("a", "again"), put("b", "longer than before")}
	commit(t, s, 2, again...)
	for i := range again {
		clear(again[i].Value)
	}
	s, _ = openTask(t, b, clicks)
	wantScan(t, s, "", "", "a=again", "b=longer than before", "new=first")
}

func checkWaiters(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	good, bad := submit(s, 1, put("a", "1")), submit(s, 5)
	want := bad.Wait(ctx)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				if err := good.Wait(ctx); err != nil {
					t.Errorf("the good one: %v", err)
				}
				if err := bad.Wait(ctx); err == nil || err.Error() != want.Error() {
					t.Errorf("the bad one: %v, want %v", err, want)
				}
			}
		})
	}
	wg.Wait()
}

func checkWaitContext(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	done, cancel := context.WithCancel(ctx)
	cancel()
	p := submit(s, 1, put("a", "1"))
	if err := p.Wait(done); err != nil { // nil when it was durable already
		wantErr(t, "wait", err, context.Canceled)
	}
	if err := p.Wait(ctx); err != nil {
		t.Errorf("the commit did not go on: %v", err)
	}
	if err := p.Wait(done); err != nil {
		t.Errorf("what is done is told whatever the context: %v", err)
	}
	wantGet(t, s, "a", "1")
}

func checkSizes(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	for i, n := range []int{0, 1, 11, 12, 13, 28, 29, 300, 1, 70_000, 0, 5 << 20, 3} {
		value := make([]byte, n)
		for j := range value {
			value[j] = byte(i + j)
		}
		commit(t, s, uint64(i+1), stateful.Write{Key: "k", Value: value}, stateful.Write{Key: fmt.Sprint(i), Value: value})
		if got := get(t, s, "k"); got != string(value) {
			t.Errorf("a value of %d bytes came back as one of %d", n, len(got))
		}
	}
}
