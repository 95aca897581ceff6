package pebble_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
)

// joined records the calls it gets.
type joined struct {
	name  string
	fails bool
	mu    *sync.Mutex
	calls *[]string
}

func (j joined) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	*j.calls = append(*j.calls, j.name+" "+fmt.Sprintf(format, args...))
}

var errRefused = errors.New("refused")

func (j joined) Join(w stateful.BatchWriter) error {
	j.note("join")
	if j.fails {
		return errRefused
	}
	return errors.Join(w.Set([]byte("e"+j.name), []byte("joined")), w.Delete([]byte("egone")))
}
func (j joined) Applied(err error) { j.note("applied %t", err == nil) }
func (j joined) Durable(err error) { j.note("durable %t", err == nil) }

func TestSinksOnTheSameDatabaseJoinTheCommit(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail int // which of two
		want []string
		seq  uint64
	}{
		{"both do", -1, []string{"a join", "b join", "a applied true", "b applied true", "a durable true", "b durable true"}, 1},
		{"the first refuses and no other call is made", 0, []string{"a join"}, 0},
		{"the second refuses and the first is told", 1, []string{"a join", "b join", "a applied false", "a durable false"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := openCrashable(t, vfs.NewCrashableMem(), nil)
			defer b.Close()
			if err := b.DB().Set([]byte("egone"), nil, b.DB().WriteOptions()); err != nil {
				t.Fatal(err)
			}
			s, _ := mustOpen(t, b)
			var mu sync.Mutex
			var calls []string
			c := stateful.Commit{Seq: 1, Writes: []stateful.Write{{Key: "k", Value: []byte("v")}}}
			for i, name := range []string{"a", "b"} {
				c.Joined = append(c.Joined, joined{name, i == tt.fail, &mu, &calls})
			}
			err := s.Submit(ctx, c).Wait(ctx)
			if refused := tt.fail >= 0; refused != errors.Is(err, errRefused) {
				t.Errorf("the commit says %v", err)
			}
			if !slices.Equal(calls, tt.want) {
				t.Errorf("calls\n%q\nwant\n%q", calls, tt.want)
			}
			_, head := mustOpen(t, b)
			if head.Seq != tt.seq {
				t.Errorf("the head is %+v, want sequence %d", head, tt.seq)
			}
			for key, there := range map[string]bool{"ea": tt.seq == 1, "eb": tt.seq == 1, "egone": tt.seq == 0} {
				_, closer, err := b.DB().Get([]byte(key))
				if (err == nil) != there {
					t.Errorf("%s: %v, want it there: %t", key, err, there)
				}
				if err == nil {
					closer.Close()
				}
			}
		})
	}
}

func TestOnlyTheSameDatabaseCanBeJoined(t *testing.T) {
	b := openCrashable(t, vfs.NewCrashableMem(), nil)
	defer b.Close()
	other, err := pebbledb.Open(pebbledb.Config{Dir: "other", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s, _ := mustOpen(t, b)
	j := s.(stateful.Joiner)
	if !j.CanJoin(b.DB()) || j.CanJoin(other) || j.CanJoin(nil) || j.CanJoin("db") {
		t.Error("CanJoin is wrong about a database")
	}
}

// A sink gives out offsets under its lock between Join and Applied: these must be
// in the order in which the batches are applied.
func TestOffsetsGivenInJoinAreInTheOrderOfApplying(t *testing.T) {
	b := openCrashable(t, vfs.NewCrashableMem(), nil)
	defer b.Close()
	var sink counter
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s, _, err := b.Open(ctx, stateful.TaskID{App: "app", Handler: "h", Partition: int32(i)})
			if err != nil {
				t.Error(err)
				return
			}
			for seq := uint64(1); seq <= 100; seq++ {
				if err := s.Submit(ctx, stateful.Commit{Seq: seq, Joined: []stateful.Joined{&sink}}).Wait(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	v, closer, err := b.DB().Get([]byte("elast"))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if string(v) != "400" {
		t.Errorf("the last offset applied is %s, want 400", v)
	}
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) Join(w stateful.BatchWriter) error {
	c.mu.Lock()
	c.n++
	return w.Set([]byte("elast"), fmt.Append(nil, c.n))
}
func (c *counter) Applied(error) { c.mu.Unlock() }
func (c *counter) Durable(error) {}
