package stateful_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"go.uber.org/goleak"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// adder adds numbers per key: records are "key number", it emits "key sum". It
// stands for every handler: state, outputs and, when told, failures and timers.
type adder struct {
	name    string
	inputs  []string
	to      string
	delay   time.Duration
	before  func(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error // the sum changes
	after   func(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error // everything is done
	invalid error
	value   string // instead of the record's
}

func (h *adder) HandlerName() string           { return h.name }
func (h *adder) Inputs() []string              { return h.inputs }
func (h *adder) WatermarkDelay() time.Duration { return h.delay }
func (h *adder) Validate() error               { return h.invalid }
func (h *adder) Outputs() []string {
	if h.to == "" {
		return nil
	}
	return []string{h.to}
}

func (h *adder) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	if h.before != nil {
		if err := h.before(ctx, tx, rec); err != nil {
			return err
		}
	}
	key, number, _ := strings.Cut(cmp.Or(h.value, string(rec.Value)), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return stateful.Permanent(err)
	}
	b, err := tx.Get(ctx, key)
	if err != nil {
		return err
	}
	sum, _ := strconv.Atoi(string(b))
	sum += n
	tx.Put(key, []byte(strconv.Itoa(sum)))
	if err := say(tx, h.to, "%s %d", key, sum); err != nil {
		return err
	}
	if h.after != nil {
		return h.after(ctx, tx, rec)
	}
	return nil
}

func say(tx *stateful.Tx, topic, format string, args ...any) error {
	if topic == "" {
		return nil
	}
	return tx.Emit(stateful.Row{Topic: topic, Payload: fmt.Appendf(nil, format, args...), Time: stateful.NoTime})
}

func observe(tx *stateful.Tx, ms int64) error {
	_, err := tx.Observe(ms)
	return err
}

// timed is an adder with timers.
type timed struct {
	adder
	onTimer func(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error
}

func (h *timed) OnTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	return h.onTimer(ctx, tx, t)
}

func sums() *adder { return &adder{name: "sums", inputs: []string{"in"}, to: "out"} }

// sink is an outbox that publishes at once and remembers, beyond any processor, what it has: it has
// a cursor for each task, so that a row is there once.
type sink struct {
	mu      sync.Mutex
	lines   []string // "topic: payload"
	rows    []stateful.Row
	cursors map[stateful.Producer]uint64
	held    bool // nothing is published
	changed chan struct{}
	check   func(*stateful.Row) error
	traits  stateful.SinkTraits
	refused map[string]error // topics
	prepare error
	closed  bool
	openErr error
	opened  *taskSink // the last one
	push    func()    // before anything is taken
}

func newSink() *sink {
	return &sink{
		cursors: make(map[stateful.Producer]uint64), changed: make(chan struct{}),
		traits: stateful.SinkTraits{Name: "test", Cursor: true, FIFO: true},
	}
}

func (s *sink) Accepts(topic string) error { return s.refused[topic] }
func (s *sink) Check(row *stateful.Row) error {
	if s.check != nil {
		return s.check(row)
	}
	return nil
}
func (s *sink) SinkTraits(string) stateful.SinkTraits { return s.traits }
func (s *sink) Close() error                          { s.closed = true; return nil }

func (s *sink) OpenTask(_ context.Context, t stateful.OutboxTask) (stateful.TaskOutbox, error) {
	if s.openErr != nil {
		return nil, s.openErr
	}
	who := t.Producer
	who.Epoch = 0
	o := &taskSink{s: s, who: who, task: t}
	o.Push(t.Rows, nil)
	s.mu.Lock()
	s.opened = o
	s.mu.Unlock()
	return o, nil
}

// hold keeps rows waiting; release publishes them.
func (s *sink) hold() { s.mu.Lock(); s.held = true; s.mu.Unlock() }

func (s *sink) release() {
	s.mu.Lock()
	s.held = false
	s.wake()
	s.mu.Unlock()
}
func (s *sink) wake() { close(s.changed); s.changed = make(chan struct{}) }

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

type taskSink struct {
	s       *sink
	who     stateful.Producer
	task    stateful.OutboxTask
	waiting []stateful.Row
	upTo    uint64
	closed  bool
}

func (o *taskSink) Join(rows []stateful.Row) ([]stateful.Joined, []stateful.Row) { return nil, rows }

func (o *taskSink) Prepare(context.Context, []stateful.Row) ([]stateful.Prepared, error) {
	return nil, o.s.prepare
}
func (o *taskSink) Abort(context.Context, []stateful.Prepared) {}
func (o *taskSink) Push(rows []stateful.Row, _ []stateful.Prepared) {
	if o.s.push != nil {
		o.s.push()
	}
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.closed {
		return
	}
	o.waiting = append(o.waiting, rows...)
	o.publish()
}

func (o *taskSink) publish() {
	if o.s.held {
		return
	}
	for _, row := range o.waiting {
		o.upTo = max(o.upTo, row.Seq)
		if row.Seq <= o.s.cursors[o.who] {
			continue
		}
		o.s.cursors[o.who] = row.Seq
		o.s.rows = append(o.s.rows, row)
		o.s.lines = append(o.s.lines, row.Topic+": "+string(row.Payload))
	}
	o.waiting = nil
	o.s.wake()
}

func (o *taskSink) Published() map[string]stateful.Published {
	p := o.Progress()
	return map[string]stateful.Published{o.s.traits.Name: {Seq: p, Trim: p}}
}

func (o *taskSink) Progress() uint64 {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	return o.upTo
}

func (o *taskSink) Room(ctx context.Context) error {
	return o.until(ctx, func() bool { return len(o.waiting) < o.task.MaxRows })
}

func (o *taskSink) Backlog() (int, int64) {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	return len(o.waiting), 0
}

func (o *taskSink) Drained(ctx context.Context) error {
	return o.until(ctx, func() bool { return len(o.waiting) == 0 })
}

func (o *taskSink) until(ctx context.Context, ok func() bool) error {
	for {
		o.s.mu.Lock()
		o.publish()
		done, changed := ok(), o.s.changed
		o.s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *taskSink) Close() error {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	o.closed = true
	return nil
}

// rig is a processor that is driven by hand, and what survives it.
type rig struct {
	t       *testing.T
	cfg     stateful.Config
	sink    *sink
	p       *stateful.Processor
	handler stateful.Handler
	ctx     context.Context
	next    map[stateful.Partition]int64
}

var noRetry = stateful.Policy{}

// quickly tries three times more, without waiting, and then dead-letters.
var quickly = stateful.Policy{Retry: &stateful.Retry{Retries: 3, OnExhausted: stateful.DeadLetter}}

func newRig(t *testing.T, h stateful.Handler, change ...func(*stateful.Config)) *rig {
	t.Helper()
	r := &rig{t: t, sink: newSink(), handler: h, next: make(map[stateful.Partition]int64)}
	r.cfg = stateful.Config{
		App: "test", Backend: memory.New(), Outbox: r.sink, DeadLetterTo: "dead",
		Now:    func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) },
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&r.cfg)
	}
	r.policy(quickly)
	r.restart()
	return r
}

func (r *rig) policy(p stateful.Policy) {
	r.ctx = stateful.WithPolicy(context.Background(), func(q *stateful.Policy) { *q = p })
}

// restart leaves the processor as it is and makes another on the same backend.
func (r *rig) restart() {
	r.t.Helper()
	var err error
	if r.p, err = stateful.NewProcessor(r.cfg); err == nil {
		err = r.p.AddTo(nil, r.handler)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// batch makes a batch of a log that begins at the end of the one before.
func (r *rig) batch(topic string, values ...string) stateful.Batch {
	p := stateful.Partition{Topic: topic}
	b := stateful.Batch{Partition: p, Log: "log-1", Start: r.next[p], End: r.next[p] + int64(len(values))}
	for i, v := range values {
		b.Records = append(b.Records, stateful.Record{Value: []byte(v), Offset: b.Start + int64(i), Time: stateful.NoTime})
	}
	r.next[p] = b.End
	return b
}

func (r *rig) process(b stateful.Batch) error {
	return r.p.Process(r.ctx, r.handler.HandlerName(), b)
}

// send processes values as one batch of topic "in".
func (r *rig) send(values ...string) {
	r.t.Helper()
	if err := r.process(r.batch("in", values...)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) tick() {
	r.t.Helper()
	if err := r.p.Tick(r.ctx, r.handler.HandlerName()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) want(lines ...string) {
	r.t.Helper()
	wantLines(r.t, r.sink.all(), lines...)
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("published\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func wantErr(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("there is no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}

// script is a backend whose commits fail where a test says.
type script struct {
	stateful.Backend
	mu      sync.Mutex
	opens   int
	commits []stateful.Commit // that were submitted
	submit  func(n int, c stateful.Commit, apply func() stateful.Pending) stateful.Pending
	get     func(keys []string) error
}

func scripted(b stateful.Backend) *script { return &script{Backend: b} }

func (b *script) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := b.Backend.Open(ctx, id)
	b.mu.Lock()
	b.opens++
	b.mu.Unlock()
	return &scriptedStore{Store: s, b: b}, head, err
}

func (b *script) count() (opens, commits int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opens, len(b.commits)
}

type scriptedStore struct {
	stateful.Store
	b *script
}

func (s *scriptedStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	if s.b.get != nil {
		if err := s.b.get(keys); err != nil {
			return nil, err
		}
	}
	return s.Store.Get(ctx, keys...)
}

func (s *scriptedStore) Submit(ctx context.Context, c stateful.Commit) stateful.Pending {
	kept := c
	kept.Writes = slices.Clone(c.Writes)
	for i := range kept.Writes {
		kept.Writes[i].Value = slices.Clone(kept.Writes[i].Value)
	}
	s.b.mu.Lock()
	s.b.commits = append(s.b.commits, kept)
	n := len(s.b.commits)
	s.b.mu.Unlock()
	apply := func() stateful.Pending { return s.Store.Submit(ctx, c) }
	if s.b.submit != nil {
		return s.b.submit(n, c, apply)
	}
	return apply()
}

// pending is a commit that is done when a test says so.
type pending struct {
	done chan struct{}
	err  error
}

func newPending() *pending { return &pending{done: make(chan struct{})} }

func (p *pending) finish(err error) { p.err = err; close(p.done) }
func (p *pending) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

type failedPending struct{ err error }

func (f failedPending) Wait(context.Context) error { return f.err }

var errDisk = errors.New("the disk is gone")

func newRouter(t *testing.T) *message.Router {
	t.Helper()
	r, err := message.NewRouter(message.RouterConfig{CloseTimeout: 5 * time.Second}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
