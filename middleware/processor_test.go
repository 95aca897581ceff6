package middleware_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/statefultest"
)

// envelopes is a subscriber that delivers one batch, again and at once whenever it is nacked.
type envelopes struct {
	batch stateful.Batch

	mu         sync.Mutex
	deliveries int
}

func (e *envelopes) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			b := e.batch
			m := stateful.NewEnvelope(ctx, &b)
			select {
			case out <- m:
			case <-ctx.Done():
				return
			}
			e.mu.Lock()
			e.deliveries++
			e.mu.Unlock()
			select {
			case <-m.Nacked():
				continue
			case <-m.Acked():
			case <-ctx.Done():
				return
			}
			<-ctx.Done()
			return
		}
	}()
	return out, nil
}

func (e *envelopes) Close() error { return nil }

func (e *envelopes) delivered() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deliveries
}

// echo emits what it reads, after try said that it may. Values are "name@milliseconds".
type echo struct {
	mu   sync.Mutex
	runs map[string]int
	try  func(name string, run int) error
	seen []int64 // the watermark before each record
}

func (*echo) HandlerName() string { return "echo" }
func (*echo) Inputs() []string    { return []string{"in"} }
func (*echo) Outputs() []string   { return []string{"out"} }
func (e *echo) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	name, _, _ := strings.Cut(string(rec.Value), "@")
	e.mu.Lock()
	e.runs[name]++
	run := e.runs[name]
	e.seen = append(e.seen, tx.Watermark())
	e.mu.Unlock()
	if _, err := tx.Observe(rec.Time); err != nil {
		return err
	}
	if _, err := tx.Get(ctx, name); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := tx.Emit(stateful.Row{Topic: "out", Payload: []byte(name), Time: rec.Time}); err != nil {
		return err
	}
	tx.Put(name, []byte("here"))
	if e.try == nil {
		return nil
	}
	return e.try(name, run)
}

// rig runs echo in a processor in a router, all in a bubble.
type rig struct {
	source  *envelopes
	echo    *echo
	sink    *outbox.Memory
	commits *counting
	p       *stateful.Processor
	cancel  context.CancelFunc
	ended   chan error
	start   time.Time
}

// counting counts commits, and fails reads of state.
type counting struct {
	stateful.Backend
	mu    sync.Mutex
	n     int
	reads int // so many fail
}

func (c *counting) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, h, err := c.Backend.Open(ctx, id)
	return countingStore{s, c}, h, err
}

type countingStore struct {
	stateful.Store
	c *counting
}

func (s countingStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	s.c.mu.Lock()
	fails := s.c.reads > 0 && keys[0][0] == 'u'
	if fails {
		s.c.reads--
	}
	s.c.mu.Unlock()
	if fails {
		return nil, errDown
	}
	return s.Store.Get(ctx, keys...)
}

func (s countingStore) Submit(ctx context.Context, c stateful.Commit) stateful.Pending {
	s.c.mu.Lock()
	s.c.n++
	s.c.mu.Unlock()
	return s.Store.Submit(ctx, c)
}

// run delivers the records, "name" or "name@milliseconds", in one envelope.
func run(t *testing.T, b stateful.Backend, try func(name string, run int) error, records []string, mw ...message.HandlerMiddleware) *rig {
	t.Helper()
	r := &rig{
		source: &envelopes{}, echo: &echo{runs: map[string]int{}, try: try}, sink: outbox.NewMemory(),
		commits: &counting{Backend: b}, ended: make(chan error, 1), start: now(),
	}
	r.source.batch = stateful.Batch{Partition: stateful.Partition{Topic: "in"}, Log: "log", End: int64(len(records))}
	for i, rec := range records {
		ms := int64(i)
		if _, at, ok := strings.Cut(rec, "@"); ok {
			fmt.Sscan(at, &ms)
		}
		r.source.batch.Records = append(r.source.batch.Records, stateful.Record{Value: []byte(rec), Offset: int64(i), Time: ms})
	}
	var err error
	r.p, err = stateful.NewProcessor(stateful.Config{
		App: "app", Source: r.source, Backend: r.commits, Outbox: outbox.New(r.sink), DeadLetterTo: "dead", TickEvery: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	router.AddMiddleware(mw...)
	if err := r.p.AddTo(router, r.echo); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() { r.ended <- r.p.Run(ctx, router) }()
	return r
}

// stop waits for d, ends the processor and returns what Run did.
func (r *rig) stop(d time.Duration) error {
	<-time.After(d)
	synctest.Wait()
	r.cancel()
	return <-r.ended
}

func (r *rig) want(t *testing.T, topic string, want ...string) {
	t.Helper()
	var got []string
	for _, row := range r.sink.Rows(topic) {
		got = append(got, string(row.Payload))
	}
	if !slices.Equal(got, want) {
		t.Errorf("topic %q has %q, want %q", topic, got, want)
	}
}

func header(row stateful.Row, key string) string {
	for _, h := range row.Headers {
		if h.Key == key {
			return h.Value
		}
	}
	return ""
}

// F1: without the rule each refusal would be a delivery.
func TestProcessorPausesWhileTheBreakerIsOpen(t *testing.T) {
	down := func(name string, run int) error {
		if name == "b" && run <= 7 {
			return errDown
		}
		return nil
	}
	for _, tt := range []struct {
		name       string
		mw         []message.HandlerMiddleware
		deliveries int
	}{
		{"with Retry, no pause is an attempt", []message.HandlerMiddleware{
			middleware.Retry{Retries: 7, OnExhausted: stateful.Stop}.Middleware, middleware.CircuitBreaker{}.Middleware,
		}, 1},
		{"without Retry every failure is a delivery, no refusal is", []message.HandlerMiddleware{middleware.CircuitBreaker{}.Middleware}, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				r := run(t, memory.New(), down, []string{"a", "b", "c"}, tt.mw...)
				<-time.After(15 * time.Second)
				synctest.Wait()
				if err := r.p.Ready(); err == nil || !strings.Contains(err.Error(), "breaker") {
					t.Errorf("while it is open readiness says %v", err)
				}
				if err := r.stop(30 * time.Second); err != nil {
					t.Error(err)
				}
				r.want(t, "out", "a", "b", "c")
				r.want(t, "dead")
				if got := r.source.delivered(); got != tt.deliveries || r.echo.runs["b"] != 8 {
					t.Errorf("%d deliveries and %d runs, want %d and 8", got, r.echo.runs["b"], tt.deliveries)
				}
			})
		})
	}
}

// Every record fails once: no two failures are in a row, though no batch succeeds whole.
func TestSuccessesBetweenFailuresKeepTheBreakerClosed(t *testing.T) {
	in(t, func(t *testing.T) {
		var changes []string
		names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		once := func(name string, run int) error {
			if name > "a" && run == 1 {
				return errDown
			}
			return nil
		}
		r := run(t, memory.New(), once, names, middleware.Retry{}.Middleware, middleware.CircuitBreaker{
			Failures: 2, OnChange: func(_, _, to string) { changes = append(changes, to) },
		}.Middleware)
		if err := r.stop(time.Minute); err != nil {
			t.Error(err)
		}
		r.want(t, "out", names...)
		if changes != nil {
			t.Errorf("the breaker went %q", changes)
		}
	})
}

// A read that failed says nothing about the handler: the one attempt that a half-open breaker lets
// through must not close it.
func TestStoreFailureDoesNotCloseTheBreaker(t *testing.T) {
	in(t, func(t *testing.T) {
		var changes []string
		var r atomic.Pointer[rig]
		down := func(_ string, run int) error {
			if run < 5 {
				return errDown
			}
			return nil
		}
		r.Store(run(t, memory.New(), down, []string{"a"}, middleware.Retry{}.Middleware, middleware.CircuitBreaker{
			Failures: 2, OnChange: func(_, _, to string) {
				if changes = append(changes, to); len(changes) == 2 {
					c := r.Load().commits
					c.mu.Lock()
					c.reads = 1
					c.mu.Unlock()
				}
			},
		}.Middleware))
		if err := r.Load().stop(time.Minute); err != nil {
			t.Error(err)
		}
		r.Load().want(t, "out", "a")
		// Two failures, the read that fails, a failure that opens it again, a success.
		if want := []string{"open", "half-open", "open", "half-open", "closed"}; !slices.Equal(changes, want) {
			t.Errorf("the breaker went %q, want %q", changes, want)
		}
	})
}

// Without a policy a failure gives the envelope back, and what comes again is the failed record alone.
func TestWhatCameBeforeAFailureIsKept(t *testing.T) {
	in(t, func(t *testing.T) {
		r := run(t, memory.New(), func(name string, run int) error {
			if name == "b" && run < 4 {
				return errDown
			}
			return nil
		}, []string{"a", "b", "c"})
		if err := r.stop(time.Minute); err != nil {
			t.Error(err)
		}
		r.want(t, "out", "a", "b", "c")
		if r.echo.runs["a"] != 1 || r.source.delivered() != 4 {
			t.Errorf("a ran %d times in %d deliveries, want 1 and 4", r.echo.runs["a"], r.source.delivered())
		}
	})
}

// T2: without the rule the batch would fail with its record, or its neighbours
// would be in another transaction.
func TestPoisonRecordAloneIsDeadLettered(t *testing.T) {
	in(t, func(t *testing.T) {
		poison := func(name string, _ int) error {
			if name == "bad" {
				return stateful.Permanent(errDown)
			}
			return nil
		}
		r := run(t, memory.New(), poison, []string{"a@10", "bad@3600000", "b@20", "c@30"}, middleware.DeadLetter{}.Middleware, middleware.Retry{}.Middleware)
		<-time.After(time.Second)
		synctest.Wait()
		if r.commits.n != 1 {
			t.Errorf("%d commits, want the batch and the dead letter in one", r.commits.n)
		}
		if err := r.stop(0); err != nil {
			t.Error(err)
		}
		r.want(t, "out", "a", "b", "c")
		r.want(t, "dead", "bad@3600000")
		if all := r.sink.Rows(); len(all) != 4 || all[1].Topic != "dead" {
			t.Errorf("the letter is out of turn: %v", all)
		}
		if got := r.source.delivered(); got != 1 {
			t.Errorf("%d deliveries", got)
		}
		// The watermark before each record is one below the latest time.
		if want := []int64{9, 9, 19}; !slices.Equal(r.echo.seen[1:], want) {
			t.Errorf("watermarks %v, want %v: the poison's time must not count", r.echo.seen[1:], want)
		}
	})
}

func TestAttemptsAreCountedPerRecord(t *testing.T) {
	in(t, func(t *testing.T) {
		fails := map[string]int{"a": 2, "b": 2, "bad": 9, "c": 2}
		r := run(t, memory.New(), func(name string, run int) error {
			if run <= fails[name] {
				return errDown
			}
			return nil
		}, []string{"a", "b", "bad", "c"}, middleware.Retry{Retries: 2, OnExhausted: stateful.DeadLetter}.Middleware)
		if err := r.stop(time.Minute); err != nil {
			t.Error(err)
		}
		r.want(t, "out", "a", "b", "c")
		r.want(t, "dead", "bad")
		if got := header(r.sink.Rows("dead")[0], stateful.DeadLetterTries); got != "3" {
			t.Errorf("the letter counts %q tries, want 3", got)
		}
		for name, want := range map[string]int{"a": 3, "b": 3, "bad": 3, "c": 3} {
			if r.echo.runs[name] != want {
				t.Errorf("%s ran %d times, want %d", name, r.echo.runs[name], want)
			}
		}
	})
}

// T2: a failure of the store is the task's. Without the rule these policies would
// dead-letter every record whose commit got lost.
func TestStoreErrorCountsNoAttemptAndDeadLettersNothing(t *testing.T) {
	lost := 0
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			in(t, func(t *testing.T) {
				r := run(t, statefultest.Faulty(memory.New(), seed, 0.5), nil, []string{"a", "b", "c"},
					middleware.DeadLetter{Take: func(error) bool { return true }}.Middleware,
					middleware.Retry{Retries: -1, OnExhausted: stateful.DeadLetter}.Middleware,
					middleware.CircuitBreaker{Failures: 1, For: 24 * time.Hour}.Middleware)
				r.stop(time.Hour)
				r.want(t, "dead")
				lost += r.source.delivered() - 1
				if r.commits.n > 1 && len(r.sink.Rows("out")) == 0 {
					return // the last commit before the end was lost: published at the next start
				}
				r.want(t, "out", "a", "b", "c")
			})
		})
	}
	if lost == 0 {
		t.Error("no commit was lost: the test proves nothing")
	}
}

func TestFailedReadCountsNoAttemptAndDeadLettersNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		r := run(t, &counting{Backend: memory.New(), reads: 4}, nil, []string{"a", "b"},
			middleware.DeadLetter{Take: func(error) bool { return true }}.Middleware,
			middleware.Retry{Retries: -1, OnExhausted: stateful.DeadLetter}.Middleware,
			middleware.CircuitBreaker{Failures: 1, For: 24 * time.Hour}.Middleware)
		if err := r.stop(time.Hour); err != nil {
			t.Error(err)
		}
		r.want(t, "dead")
		r.want(t, "out", "a", "b")
		if r.echo.runs["a"] != 5 {
			t.Errorf("the record ran %d times, want 5", r.echo.runs["a"])
		}
	})
}

func TestThirdPanicOfARecordIsDeadLetteredWithItsStack(t *testing.T) {
	in(t, func(t *testing.T) {
		r := run(t, memory.New(), func(name string, _ int) error {
			if name == "bad" {
				panic("out of paper")
			}
			return nil
		}, []string{"a", "bad", "b"}, middleware.Retry{Retries: 100}.Middleware)
		if err := r.stop(time.Minute); err != nil {
			t.Error(err)
		}
		r.want(t, "out", "a", "b")
		r.want(t, "dead", "bad")
		if r.echo.runs["bad"] != 3 {
			t.Errorf("it ran %d times, want 3", r.echo.runs["bad"])
		}
		letter := r.sink.Rows("dead")[0]
		if !strings.Contains(header(letter, stateful.DeadLetterStack), "processor_test.go") || !strings.Contains(header(letter, stateful.DeadLetterReason), "out of paper") {
			t.Errorf("the letter says %v", letter.Headers)
		}
	})
}
