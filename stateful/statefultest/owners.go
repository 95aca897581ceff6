package statefultest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pondage/pondage/stateful"
)

var ownerChecks = []check{
	{"a task never opened has sequence 0 and epoch 1", checkFirst},
	{"every open raises the epoch", checkEpoch},
	{"an old owner is fenced", checkFenced},
	{"an old owner is fenced also when the new one has written", checkFencedLater},
	{"a closed store says ErrClosed", checkClosedStore},
	{"a store that is closed does not lose what is pending", checkClosePending},
	{"a closed backend says ErrClosed", checkClosedBackend},
	{"sequence and token survive an open", checkHead},
	{"an unknown outcome is resolved by sequence and token", checkUnknown},
	{"tasks are apart, also when one's name begins another's", checkApart},
	{"many tasks work at once", checkMany},
	{"of owners that race one wins and nothing is lost", checkRace},
	{"what was durable survives a crash", checkCrash},
}

func checkFirst(t *testing.T, b stateful.Backend) {
	s, head := openTask(t, b, clicks)
	if head != (stateful.Head{Epoch: 1}) {
		t.Errorf("the head is %+v, want epoch 1 and nothing else", head)
	}
	wantScan(t, s, "", "")
}

func checkEpoch(t *testing.T, b stateful.Backend) {
	for epoch := uint64(1); epoch < 5; epoch++ {
		s, head := openTask(t, b, clicks)
		if head.Epoch != epoch {
			t.Errorf("epoch %d, want %d", head.Epoch, epoch)
		}
		if epoch%2 == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, head := openTask(t, b, stateful.TaskID{App: "app", Handler: "other"}); head.Epoch != 1 {
		t.Errorf("another task has epoch %d, want 1", head.Epoch)
	}
}

func checkFenced(t *testing.T, b stateful.Backend) {
	old, _ := openTask(t, b, clicks)
	commit(t, old, 1, put("a", "1"))
	s, _ := openTask(t, b, clicks)
	for what, err := range errorsOf(old, 2) {
		wantErr(t, what, err, stateful.ErrFenced)
	}
	wantGet(t, s, "a", "1")
	commit(t, s, 2, put("a", "2"))
	if err := old.Close(); err != nil {
		t.Errorf("close of the old one: %v", err)
	}
	commit(t, s, 3, put("a", "3"))
}

func checkFencedLater(t *testing.T, b stateful.Backend) {
	old, _ := openTask(t, b, clicks)
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("a", "new"))
	for _, seq := range []uint64{1, 2} {
		wantErr(t, fmt.Sprintf("submit %d", seq), submit(old, seq, put("a", "old")).Wait(ctx), stateful.ErrFenced)
	}
	wantGet(t, s, "a", "new")
}

func checkClosedStore(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	for what, err := range errorsOf(s, 1) {
		wantErr(t, what, err, stateful.ErrClosed)
	}
	s, head := openTask(t, b, clicks)
	if head.Seq != 0 {
		t.Errorf("the head is %+v: the closed store wrote", head)
	}
	commit(t, s, 1)
}

func checkClosePending(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	p := submit(s, 1, put("a", "1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(ctx); err != nil {
		t.Errorf("the commit before the close: %v", err)
	}
	s, _ = openTask(t, b, clicks)
	wantGet(t, s, "a", "1")
}

func checkClosedBackend(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	p := submit(s, 1, put("a", "1"))
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if err := p.Wait(ctx); err != nil {
		t.Errorf("the commit before the close: %v", err)
	}
	for what, err := range errorsOf(s, 2) {
		wantErr(t, what, err, stateful.ErrClosed)
	}
	_, _, err := b.Open(ctx, clicks)
	wantErr(t, "open", err, stateful.ErrClosed)
	if err := s.Close(); err != nil {
		t.Errorf("close of a store after its backend: %v", err)
	}
}

func checkHead(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	for seq, token := range []uint64{^uint64(0), 0, 42} {
		if err := s.Submit(ctx, stateful.Commit{Seq: uint64(seq + 1), Token: token}).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		var head stateful.Head
		if s, head = openTask(t, b, clicks); head.Seq != uint64(seq+1) || head.Token != token {
			t.Errorf("the head is %+v, want sequence %d and token %d", head, seq+1, token)
		}
	}
}

// checkUnknown loses the answer to a commit that landed, and to one in whose
// place another owner's landed: only the token tells them apart.
func checkUnknown(t *testing.T, b stateful.Backend) {
	mine := stateful.Commit{Seq: 1, Token: 11, Writes: []stateful.Write{put("a", "mine")}}
	for _, tt := range []struct {
		id     stateful.TaskID
		before bool
	}{
		{stateful.TaskID{App: "app", Handler: "landed"}, false},
		{stateful.TaskID{App: "app", Handler: "lost"}, true},
	} {
		f := faulty(b, func(stateful.TaskID, uint64) (fails, before bool) { return true, tt.before })
		s, _, err := f.Open(ctx, tt.id)
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, "submit", s.Submit(ctx, mine).Wait(ctx), stateful.ErrCommitUnknown)
		s, head := openTask(t, b, tt.id)
		if tt.before {
			if head.Seq != 0 {
				t.Errorf("the head is %+v, want sequence 0", head)
			}
			if err := s.Submit(ctx, stateful.Commit{Seq: 1, Token: 22}).Wait(ctx); err != nil {
				t.Fatal(err)
			}
			_, head = openTask(t, b, tt.id)
		}
		if applied := head.Seq == mine.Seq && head.Token == mine.Token; applied == tt.before {
			t.Errorf("%s: head %+v says applied = %t", tt.id, head, applied)
		}
	}
}

func checkApart(t *testing.T, b stateful.Backend) {
	ids := []stateful.TaskID{
		{App: "a", Handler: "b", Partition: 0},
		{App: "a", Handler: "b", Partition: 1},
		{App: "a", Handler: "b", Partition: 255},
		{App: "a", Handler: "b", Partition: 256},
		{App: "a", Handler: "b", Partition: 0x61616161},
		{App: "a", Handler: "bb", Partition: 0},
		{App: "a", Handler: "b.b", Partition: 1},
		{App: "aa", Handler: "b", Partition: 0},
		{App: "a-a", Handler: "b", Partition: 1},
		{App: "b", Handler: "a", Partition: 0},
	}
	keys := []string{"", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x01", "aaaa", "b\x00", "\xff\xff\xff\xff\xff"}
	stores := make([]stateful.Store, len(ids))
	for i, id := range ids {
		stores[i], _ = openTask(t, b, id)
		var writes []stateful.Write
		for _, key := range keys {
			writes = append(writes, put(key, fmt.Sprint(i)))
		}
		commit(t, stores[i], 1, writes...)
	}
	for i, s := range stores {
		var want []string
		for _, key := range keys {
			wantGet(t, s, key, fmt.Sprint(i))
			want = append(want, fmt.Sprintf("%s=%d", key, i))
		}
		wantScan(t, s, "", "", want...)
		commit(t, s, 2, del(keys[i%len(keys)]))
		if got, err := scan(s, "", ""); err != nil || len(got) != len(keys)-1 {
			t.Errorf("%s has %q, %v after one deletion", ids[i], got, err)
		}
	}
}

func checkMany(t *testing.T, b stateful.Backend) {
	const tasks, commits = 8, 50
	var wg sync.WaitGroup
	for i := range tasks {
		wg.Go(func() {
			id := stateful.TaskID{App: "app", Handler: "h", Partition: int32(i)}
			s, _, err := b.Open(ctx, id)
			if err != nil {
				t.Error(err)
				return
			}
			var last stateful.Pending
			for seq := uint64(1); seq <= commits; seq++ {
				last = submit(s, seq, put("n", fmt.Sprint(seq)), put(fmt.Sprintf("%03d", seq), strings.Repeat("x", i)))
				if got, err := s.Get(ctx, "n"); err != nil || string(got[0]) != fmt.Sprint(seq) {
					t.Errorf("%s: n = %q, %v after commit %d", id, got, err, seq)
				}
			}
			if err := last.Wait(ctx); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			if got, err := scan(s, "", "n"); err != nil || len(got) != commits {
				t.Errorf("%s: %d entries, %v, want %d", id, len(got), err, commits)
			}
		})
	}
	wg.Wait()
}

// checkRace has several owners take one task from each other and count in it.
func checkRace(t *testing.T, b stateful.Backend) {
	const owners, rounds = 4, 25
	var wg sync.WaitGroup
	var mu sync.Mutex
	counted := 0
	for range owners {
		wg.Go(func() {
			for range rounds {
				s, head, err := b.Open(ctx, clicks)
				if err != nil {
					t.Error(err)
					return
				}
				values, err := s.Get(ctx, "n")
				if err != nil {
					continue // fenced
				}
				next := stateful.Write{Key: "n", Value: append(values[0], 'x')}
				if submit(s, head.Seq+1, next).Wait(ctx) == nil {
					mu.Lock()
					counted++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	s, head := openTask(t, b, clicks)
	n := len(strings.TrimPrefix(get(t, s, "n"), "-"))
	if n != counted || head.Seq != uint64(counted) {
		t.Errorf("%d commits were acknowledged, the state counts %d and the sequence is %d", counted, n, head.Seq)
	}
	if head.Epoch != owners*rounds+1 {
		t.Errorf("epoch %d after %d opens", head.Epoch, owners*rounds+1)
	}
}

func checkCrash(t *testing.T, b stateful.Backend) {
	r, ok := b.(Reopener)
	if !ok {
		t.Skip("the backend is no Reopener: nothing survives it")
	}
	s, first := openTask(t, r, clicks)
	commit(t, s, 1, put("a", "1"), put("b", "1"))
	commit(t, s, 2, put("a", "2"), del("b"))
	after := r.Reopen(t)
	t.Cleanup(func() { after.Close() }) //nolint:errcheck // of a backend that is not under test
	wantErr(t, "submit", submit(s, 3).Wait(ctx), stateful.ErrClosed)
	s, head := openTask(t, after, clicks)
	if head.Epoch <= first.Epoch || head.Seq != 2 || head.Token != token(2) {
		t.Errorf("the head is %+v, want sequence 2 and an epoch above %d", head, first.Epoch)
	}
	wantScan(t, s, "", "", "a=2")
}
