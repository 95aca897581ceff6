package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// T4: a commit's token is made of its content: of two with one sequence, only the same ones
// have the same.
func TestTokensTellCommitsApart(t *testing.T) {
	commits := func(values ...string) []stateful.Commit {
		b := scripted(memory.New())
		r := newRig(t, sums(), func(c *stateful.Config) { c.Backend = b })
		for _, v := range values {
			r.send(v)
		}
		return b.commits
	}
	same, again, other := commits("a 1", "a 1"), commits("a 1", "a 1"), commits("a 2")
	if same[0].Token != again[0].Token || same[1].Token != again[1].Token {
		t.Error("the same commits have different tokens")
	}
	if same[0].Token == other[0].Token {
		t.Error("two commits of one sequence with different content have one token")
	}
	if same[0].Token == same[1].Token {
		t.Error("two commits in a row have one token")
	}
}

// echo keeps no state, so that it meets its store only when it commits.
type echo struct{}

func (echo) HandlerName() string { return "echo" }
func (echo) Inputs() []string    { return []string{"in"} }
func (echo) Outputs() []string   { return []string{"out"} }
func (echo) Process(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	return say(tx, "out", "%s", rec.Value)
}

// O2: the same for one that finds out by its commit.
func TestTaskFencedByItsCommitStaysClosed(t *testing.T) {
	b := scripted(memory.New())
	r := newRig(t, echo{}, func(c *stateful.Config) { c.Backend = b })
	r.send("1")
	old, ctx := r.p, r.ctx
	r.restart()
	late := r.batch("in", "2")
	if err := r.process(late); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := old.Process(ctx, "echo", late); !errors.Is(err, stateful.ErrFenced) {
			t.Fatalf("the error is %v, want ErrFenced", err)
		}
	}
	if opens, _ := b.count(); opens != 2 {
		t.Errorf("the task was opened %d times, want 2: once by each", opens)
	}
	r.send("3")
	r.want("out: 1", "out: 2", "out: 3")
}

// T2, W4: an event time beyond the limit is dead-lettered, and neither it nor that of any other record
// that failed moves the watermark.
func TestTimesOfDeadLettersMoveNothing(t *testing.T) {
	h := sums()
	at := map[string]int64{"a 1": 1000, "a 2": 2000, "a 3": 2001, "a x": 1999, "a 4": 1500}
	var seen []int64
	h.before = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
		seen = append(seen, tx.Watermark())
		return observe(tx, at[string(rec.Value)])
	}
	r := newRig(t, h, func(c *stateful.Config) { c.Limits.Future = time.Second })
	b := r.batch("in", "a 1", "a 3", "a x", "a 2", "a 4")
	for i := range b.Records {
		b.Records[i].Time = 1000
	}
	if err := r.process(b); err != nil {
		t.Fatal(err)
	}
	r.want("out: a 1", "dead: a 3", "dead: a x", "out: a 3", "out: a 7")
	wantReason(t, r, 1, "Limits.Future")
	if want := []int64{999, 999, 999, 1999}; !slices.Equal(seen[1:], want) {
		t.Errorf("the watermarks before the records were %d, want %d", seen[1:], want)
	}
}

// T3: a commit that has many bytes goes on in the next, at a record's border.
func TestBytesOfACommitAreCapped(t *testing.T) {
	b := scripted(memory.New())
	r := newRig(t, sums(), func(c *stateful.Config) { c.Backend, c.Limits.CommitBytes = b, 60 })
	var values, want []string
	for i := range 50 {
		values = append(values, fmt.Sprintf("key%d 1", i))
		want = append(want, fmt.Sprintf("out: key%d 1", i))
	}
	r.send(values...)
	if len(b.commits) < 5 {
		t.Errorf("there are %d commits, want several", len(b.commits))
	}
	for _, c := range b.commits {
		if len(c.Writes) > 20 {
			t.Errorf("commit %d has %d writes", c.Seq, len(c.Writes))
		}
	}
	r.restart()
	r.send("key0 1")
	r.want(append(want, "out: key0 2")...)
}

// counter counts in a table of decoded values.
type counter struct {
	instances *int
	counts    *stateful.Table[int]
}

func (counter) HandlerName() string { return "counter" }
func (counter) Inputs() []string    { return []string{"in"} }
func (counter) Outputs() []string   { return []string{"out"} }

func (h counter) Instance(_ context.Context, t *stateful.Task) (stateful.Handler, error) {
	*h.instances++
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[int]{})
	return counter{h.instances, stateful.NewTable(t, "n", codec)}, err
}

func (h counter) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	c, err := h.counts.Load(ctx, rec.Value)
	if err != nil {
		return err
	}
	n, _ := c.Value()
	h.counts.Put(c, n+1)
	return say(tx, "out", "%s %d", rec.Value, n+1)
}

// Decoded state is let go of when there is too much, and read again.
func TestDecodedEntriesAreCapped(t *testing.T) {
	for _, limit := range []int{0, 3} {
		instances := 0
		r := newRig(t, counter{instances: &instances}, func(c *stateful.Config) { c.Limits.CachedEntries = limit })
		var want []string
		for round := 1; round <= 3; round++ {
			for i := range 10 {
				r.send(strconv.Itoa(i))
				want = append(want, fmt.Sprintf("out: %d %d", i, round))
			}
		}
		r.want(want...)
		if limit == 0 && instances != 1 || limit > 0 && instances < 5 {
			t.Errorf("with a limit of %d the state was dropped %d times", limit, instances-1)
		}
	}
}

// F4: an id is kept, so it is limited as keys are.
func TestLongIDsAreDeadLettered(t *testing.T) {
	r := newRig(t, sums(), func(c *stateful.Config) { c.Limits.KeyBytes = 4 })
	for _, id := range []string{"1234", "12345"} {
		if err := r.process(marked(id, "a 1")); err != nil {
			t.Fatal(err)
		}
	}
	r.want("out: a 1", "dead: a 1")
}

// T7: timers of one time are told apart by kind, namespace and key.
func TestTimersOfOneTimeAreToldApart(t *testing.T) {
	now := time.UnixMilli(0)
	timers := []stateful.Timer{
		{Kind: stateful.EventTime, Time: 5, Namespace: "a", Key: "bc"},
		{Kind: stateful.EventTime, Time: 5, Namespace: "ab", Key: "c"},
		{Kind: stateful.EventTime, Time: 5, Key: "abc"},
		{Kind: stateful.EventTime, Time: 5, Namespace: "a", Key: "bc"}, // again
		{Kind: stateful.ProcessingTime, Time: 5, Namespace: "a", Key: "bc"},
	}
	h := &timed{adder: *sums()}
	h.before = func(_ context.Context, tx *stateful.Tx, _ *stateful.Record) error {
		for _, timer := range timers {
			if err := tx.SetTimer(timer); err != nil {
				return err
			}
		}
		return observe(tx, 100)
	}
	h.onTimer = func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
		return say(tx, "out", "%d %q %q", timer.Kind, timer.Namespace, timer.Key)
	}
	r := newRig(t, h, func(c *stateful.Config) { c.Now = func() time.Time { return now } })
	r.send("a 1")
	r.restart()
	now = now.Add(time.Second)
	r.tick()
	r.send()
	r.tick()
	r.tick()
	r.want("out: a 1", `out: 1 "" "abc"`, `out: 1 "a" "bc"`, `out: 1 "ab" "c"`, `out: 2 "a" "bc"`)
}

// sensitive is a backend whose commits take part in their context: one that is done loses them.
type sensitive struct{ stateful.Backend }

type sensitiveStore struct{ stateful.Store }

func (b sensitive) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := b.Backend.Open(ctx, id)
	return sensitiveStore{s}, head, err
}

func (s sensitiveStore) Submit(ctx context.Context, c stateful.Commit) stateful.Pending {
	if ctx.Err() != nil {
		return failedPending{fmt.Errorf("%w: %w", stateful.ErrCommitUnknown, ctx.Err())}
	}
	return s.Store.Submit(ctx, c)
}

// F2: a context that ends does not cut a commit short, whose outcome would be unknown.
func TestCommitOutlivesTheContextOfItsMessage(t *testing.T) {
	r := newRig(t, sums(), func(c *stateful.Config) { c.Backend = sensitive{c.Backend} })
	h := r.handler.(*adder)
	ctx, cancel := context.WithCancel(r.ctx)
	h.after = func(context.Context, *stateful.Tx, *stateful.Record) error { cancel(); return nil }
	if err := r.p.Process(ctx, "sums", r.batch("in", "a 1")); err != nil {
		t.Fatal(err)
	}
	r.want("out: a 1")
}

// preparing is an outbox whose sink reserves before it commits.
type preparing struct {
	*sink
	opened  []stateful.OutboxTask
	mu      sync.Mutex
	aborted []string
}

type preparingTask struct {
	stateful.TaskOutbox
	o *preparing
}

func (o *preparing) OpenTask(ctx context.Context, t stateful.OutboxTask) (stateful.TaskOutbox, error) {
	o.opened = append(o.opened, t)
	task, err := o.sink.OpenTask(ctx, t)
	return preparingTask{task, o}, err
}

func (t preparingTask) Prepare(_ context.Context, rest []stateful.Row) ([]stateful.Prepared, error) {
	if len(rest) == 0 {
		return nil, nil
	}
	last := rest[len(rest)-1]
	return []stateful.Prepared{{Sink: "test", Seq: last.Seq, Handle: []byte("for " + string(last.Payload))}}, nil
}

func (t preparingTask) Abort(_ context.Context, all []stateful.Prepared) {
	t.o.mu.Lock()
	defer t.o.mu.Unlock()
	for _, p := range all {
		t.o.aborted = append(t.o.aborted, string(p.Handle))
	}
}

// K4: what a sink reserved is given up when the commit, and those behind it, failed for certain; not when
// it may have been applied.
func TestWhatWasReservedIsGivenUpWithItsCommit(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want []string
	}{
		{"it failed", errDisk, []string{"for a 2", "for b 2", "for c 2"}},
		{"another owner exists", stateful.ErrFenced, []string{"for a 2", "for b 2", "for c 2"}},
		{"nobody knows", stateful.ErrCommitUnknown, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := scripted(nil)
				o := &preparing{sink: newSink()}
				r := newRig(t, sums(), func(c *stateful.Config) {
					b.Backend, c.Backend, c.Outbox = c.Backend, b, o
					c.Limits.CommitRows = 1 // each record is a commit
				})
				r.send("d 1")
				fails := newPending()
				first := true
				b.submit = func(_ int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
					if first {
						first = false
						return fails
					}
					return failedPending{fmt.Errorf("an earlier one failed: %w", tt.err)}
				}
				time.AfterFunc(time.Second, func() { fails.finish(tt.err) })
				done := make(chan error)
				go func() { done <- r.process(r.batch("in", "a 2", "b 2", "c 2")) }()
				if err := <-done; !errors.Is(err, tt.err) {
					t.Errorf("it failed with %v, want %v", err, tt.err)
				}
				o.mu.Lock()
				defer o.mu.Unlock()
				if !slices.Equal(o.aborted, tt.want) {
					t.Errorf("given up are %q, want %q", o.aborted, tt.want)
				}
			})
		})
	}
}

// K4: what a sink reserved is stored with the commit that decides it, handed back to the outbox
// when the task is opened again, and forgotten once it is published.
func TestPreparedHandlesAreStoredWithTheCommit(t *testing.T) {
	o := &preparing{sink: newSink()}
	r := newRig(t, sums(), func(c *stateful.Config) { c.Outbox = o })
	o.hold()
	r.send("a 1", "a 2")
	r.restart()
	r.send("b 1")
	got := o.opened[1].Prepared
	if len(got) != 1 || got[0].Sink != "test" || got[0].Seq != 2 || string(got[0].Handle) != "for a 3" {
		t.Errorf("the task was opened with the handles %v, want that of rows 1 and 2", got)
	}
	o.release()
	r.tick()
	r.restart()
	r.send("b 1")
	if got := o.opened[2]; len(got.Prepared) != 0 || len(got.Rows) != 0 {
		t.Errorf("%d handles and %d rows are still stored after they were published", len(got.Prepared), len(got.Rows))
	}
}

// limited tells the limits that its task has.
type limited struct {
	echo
	got *stateful.Limits
}

func (h limited) Instance(_ context.Context, t *stateful.Task) (stateful.Handler, error) {
	*h.got = t.Limits()
	return h, nil
}

func TestDefaultsOfLimits(t *testing.T) {
	var got stateful.Limits
	r := newRig(t, limited{got: &got})
	r.send("1")
	want := stateful.Limits{
		RecordBytes: 1 << 20, KeyBytes: 4 << 10, WindowsPerKey: 10_000, Timers: 10_000_000, Future: 24 * time.Hour,
		CommitRows: 10_000, CommitBytes: 4 << 20, OutboxRows: 100_000, OutboxBytes: 256 << 20,
		DedupFor: 24 * time.Hour, DedupMarks: 1_000_000, SweepEntries: 100, SweepEvery: time.Minute, CachedEntries: 1_000_000,
	}
	if got != want {
		t.Errorf("the defaults are\n%+v\nwant\n%+v", got, want)
	}
}
