// Package outboxtest checks that an [outbox.Sink] keeps the promises in its
// documentation.
package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

// Subject is a sink to be tested, and what the suite cannot know of it.
type Subject struct {
	// Open returns a sink on storage that is the Subject's: after a Close it finds what was
	// published and its cursors again. The suite closes it.
	Open func(t *testing.T) outbox.Sink
	// Topic is one the sink takes. All rows go there, with one key, so that they
	// have an order.
	Topic string
	// Published returns the payloads published to Topic since the Subject was made, in order, repeats
	// included.
	Published func(t *testing.T) []string
	// TooLarge returns a row that the sink refuses; nil when it has no limit.
	TooLarge func() stateful.Row
	// Prepared returns how much is reserved. Required when the sink is an [outbox.Preparer].
	Prepared func(t *testing.T) int
}

// TestSink runs every promise in the docs of [outbox.Sink], and of [outbox.Preparer]
// when it is one, each against a subject of its own. Sinks without a cursor are
// only asked for what they promise: order and nothing lost.
func TestSink(t *testing.T, subject func(t *testing.T) Subject) {
	for _, c := range checks {
		t.Run(c.promise, func(t *testing.T) {
			s := &run{T: t, Subject: subject(t)}
			s.open()
			t.Cleanup(func() {
				if err := s.sink.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			if c.cursor && !s.sink.Traits().Cursor {
				t.Skip("the sink keeps no cursor, and says so")
			}
			if _, ok := s.sink.(outbox.Preparer); c.prepares && !ok {
				t.Skip("the sink need not prepare")
			}
			c.check(s)
		})
	}
}

type check struct {
	promise          string
	cursor, prepares bool
	check            func(*run)
}

var checks = []check{
	{promise: "it has a name and says what weakens it", check: checkTraits},
	{promise: "rows come out in order", check: checkOrder},
	{promise: "a commit of nothing publishes nothing", check: checkNothing},
	{promise: "the caller's memory is its own again after Commit", check: checkMemory},
	{promise: "a closed sink says ErrClosed", check: checkClosed},
	{promise: "a second Close returns nil", check: checkCloseTwice},
	{promise: "a context that ended ends a call and loses nothing", check: checkContext},
	{promise: "a row that is too large is refused when it is checked", check: checkTooLarge},
	{promise: "rows committed again are published once", cursor: true, check: checkRepeat},
	{promise: "a commit that overlaps the one before publishes only what is new", cursor: true, check: checkOverlap},
	{promise: "the cursor passes over gaps", cursor: true, check: checkGaps},
	{promise: "a new task has no cursor", cursor: true, check: checkNew},
	{promise: "the cursor survives reopening", cursor: true, check: checkReopen},
	{promise: "Recover can be repeated", cursor: true, check: checkRecoverTwice},
	{promise: "a lower epoch is refused after Recover", cursor: true, check: checkLowerEpoch},
	{promise: "a lower incarnation is refused whatever its epoch", cursor: true, check: checkLowerIncarnation},
	{promise: "a stale producer is refused after reopening", cursor: true, check: checkStaleReopen},
	{promise: "a higher incarnation begins a new sequence", cursor: true, check: checkIncarnation},
	{promise: "tasks do not share a cursor", cursor: true, check: checkTasks},
	{promise: "what was prepared and decided is published once", prepares: true, check: checkDecided},
	{promise: "what was prepared and never decided is given up", prepares: true, check: checkUndecided},
	{promise: "Abort gives up and can be repeated", prepares: true, check: checkAbort},
	{promise: "several transactions may be prepared at once", prepares: true, check: checkPrepareAhead},
	{promise: "a stale producer can neither prepare nor commit what it prepared", cursor: true, prepares: true, check: checkStalePrepare},
}

var ctx = context.Background()

// clicks is the producer of most checks.
var clicks = stateful.Producer{App: "app", Incarnation: 1, Handler: "clicks", Epoch: 1}

func with(f func(*stateful.Producer)) stateful.Producer {
	p := clicks
	f(&p)
	return p
}

// run is one check at work.
type run struct {
	*testing.T
	Subject
	sink outbox.Sink
}

func (r *run) open() {
	r.Helper()
	r.sink = r.Open(r.T)
}

func (r *run) reopen() {
	r.Helper()
	if err := r.sink.Close(); err != nil {
		r.Fatalf("close: %v", err)
	}
	r.open()
}

// rows returns one row for each sequence in [from, to].
func (r *run) rows(from, to uint64) []stateful.Row {
	var all []stateful.Row
	for seq := from; seq <= to; seq++ {
		all = append(all, stateful.Row{Seq: seq, Topic: r.Topic, Key: []byte("k"), Payload: fmt.Append(nil, seq), Time: int64(seq)})
	}
	return all
}

func (r *run) recover(p stateful.Producer, want uint64, decided ...stateful.Prepared) {
	r.Helper()
	got, err := r.sink.Recover(ctx, p, decided)
	if err != nil {
		r.Fatalf("recover: %v", err)
	}
	if r.sink.Traits().Cursor && got.Seq != want {
		r.Errorf("Recover returned sequence %d, want %d", got.Seq, want)
	}
	if got.Epoch > p.Epoch {
		r.Errorf("Recover returned epoch %d to a producer of epoch %d", got.Epoch, p.Epoch)
	}
}

func (r *run) commit(p stateful.Producer, rows []stateful.Row) {
	r.Helper()
	if n, err := r.sink.Commit(ctx, p, rows); err != nil || n != len(rows) {
		r.Fatalf("Commit of %d rows returned %d, %v", len(rows), n, err)
	}
}

func (r *run) published(want ...string) {
	r.Helper()
	if got := r.Published(r.T); !slices.Equal(got, want) {
		r.Errorf("published %q, want %q", got, want)
	}
}

func (r *run) isErr(what string, err, want error) {
	r.Helper()
	if !errors.Is(err, want) {
		r.Errorf("%s returned %v, want %v", what, err, want)
	}
}

// stale checks that p is refused by everything and publishes nothing.
func (r *run) stale(p stateful.Producer) {
	r.Helper()
	before := r.Published(r.T)
	n, err := r.sink.Commit(ctx, p, r.rows(50, 51))
	r.isErr("Commit", err, stateful.ErrFenced)
	if n != 0 {
		r.Errorf("Commit says that it published %d rows", n)
	}
	_, err = r.sink.Recover(ctx, p, nil)
	r.isErr("Recover", err, stateful.ErrFenced)
	r.published(before...)
}
