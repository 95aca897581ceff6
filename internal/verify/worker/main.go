// Command worker is the process that the tests of package verify kill: it loads events, echoes and
// sums them, and ends when everything is processed. It is a program of its own because a test binary with the race
// detector makes Pebble check itself, a hundred times slower.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/internal/verify"
	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/postgres"
	"github.com/pondage/pondage/stateful/redis"
	"github.com/pondage/pondage/stateful/window"
)

func main() {
	var w worker
	err := json.Unmarshal([]byte(os.Args[1]), &w.Life)
	if err == nil {
		err = w.work(context.Background(), func() { fmt.Println("ready") })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// worker is one life of the process.
type worker struct{ verify.Life }

// event is the same in every life.
func (w *worker) event(seq uint64) verify.Event {
	h := verify.Mix(w.Seed<<32 ^ seq)
	key := fmt.Sprint("k", h%verify.Keys)
	e := verify.Event{
		Seq: seq, Key: key, Partition: stateful.Murmur2Partitioner([]byte(key), w.Partitions),
		At: int64(seq) * 5, N: int64(h>>40%1000) - 500,
	}
	if h>>50%4 == 0 { // out of order, some of them too much
		e.At -= int64(h >> 16 % uint64(verify.Delay.Milliseconds()*3/2+verify.Size.Milliseconds()))
	}
	return e
}

// work runs until everything is processed.
func (w *worker) work(ctx context.Context, ready func()) (err error) {
	backend, err := w.backend(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	c := embedded.Config{Dir: w.LogDir(), Partitions: w.Partitions, BatchRecords: w.Batch, MaxBatchRecords: max(4*w.Batch, 1)}
	if b, ok := backend.(*pebble.Backend); ok && !w.Separate {
		c.DB, c.Dir = b.DB(), ""
	}
	log, err := embedded.Open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	for _, topic := range []string{verify.Input, verify.Echo, verify.Sums, verify.Late} {
		if err := log.CreateTopic(topic, w.Partitions); err != nil {
			return err
		}
	}
	ready()
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	router.AddMiddleware(w.ends(done), middleware.Retry{OnExhausted: stateful.Stop}.Middleware, middleware.CircuitBreaker{}.Middleware)
	proc, err := stateful.NewProcessor(stateful.Config{
		App: verify.App, Source: log, Backend: backend, Outbox: outbox.New(log.Sink()),
		Delivery: stateful.DeliverExactlyOnce, Limits: stateful.Limits{CommitRows: w.CommitRows},
		TickEvery: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	if err := proc.AddTo(router, echo{w.Sabotage}, sums(w.Sabotage)); err != nil {
		return err
	}
	loading := make(chan error, 1)
	go func() {
		err := w.load(ctx, log)
		if err != nil {
			done()
		}
		loading <- err
	}()
	err = proc.Run(ctx, router)
	done()
	loaded := <-loading
	if errors.Is(loaded, context.Canceled) {
		loaded = nil // all was there and processed while it still repeated the last events; or err says why not
	}
	return errors.Join(err, loaded)
}

// backend opens where the state is. On a server that is killed, too, retries are short and the breaker lets one through
// soon.
func (w *worker) backend(ctx context.Context) (stateful.Backend, error) {
	const base, most, pause = 10 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond
	switch {
	case strings.HasPrefix(w.State, "redis:"):
		return redis.New(ctx, redis.Config{
			URLs: []string{w.State}, Prefix: w.Space, Index: w.Seed%2 == 0, PoolMin: 1, RetryBase: base, RetryMax: most, BreakerFor: pause,
		})
	case w.State != "":
		return postgres.New(ctx, postgres.Config{DSN: w.State, Schema: w.Space, RetryBase: base, RetryMax: most, BreakerFor: pause})
	}
	return pebble.New(ctx, pebble.Config{Dir: w.StateDir(), CacheBytes: 8 << 20, MemTableBytes: 1 << 20})
}

// load appends what is not there yet.
func (w *worker) load(ctx context.Context, log *embedded.Log) error {
	p, err := log.NewProducer(ctx, "loader")
	if err != nil {
		return err
	}
	if w.Sabotage == verify.LoadLate {
		<-ctx.Done()
	}
	// It begins somewhat before the end, as a loader does that reads its input again.
	seq := p.Sequence() - min(p.Sequence(), 100) + 1
	var rows []stateful.Row
	for seq <= w.Records {
		rows = rows[:0]
		for n := verify.Mix(seq)%400 + 1; n > 0 && seq <= w.Records; n-- {
			e := w.event(seq)
			v, err := json.Marshal(e)
			if err != nil {
				return err
			}
			rows = append(rows, stateful.Row{Seq: seq, Topic: verify.Input, Key: []byte(e.Key), Payload: v, Time: stateful.NoTime})
			seq++
		}
		if err := p.AppendRows(ctx, rows); err != nil {
			return err
		}
	}
	return log.Seal(verify.Input)
}

// ends calls done once both handlers have processed the end of every partition.
func (w *worker) ends(done func()) message.HandlerMiddleware {
	var mu sync.Mutex
	ended := make(map[string]bool)
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			out, err := h(msg)
			if b, ok := stateful.BatchFrom(msg.Context()); ok && err == nil && b.EndOfInput {
				mu.Lock()
				defer mu.Unlock()
				ended[fmt.Sprint(message.HandlerNameFromCtx(msg.Context()), b.Partition.Index)] = true
				if len(ended) == 2*w.Partitions {
					done()
				}
			}
			return out, err
		}
	}
}

// echo is the handler [verify.Echo].
type echo struct{ sabotage string }

func (echo) HandlerName() string { return verify.Echo }
func (echo) Inputs() []string    { return []string{verify.Input} }
func (echo) Outputs() []string   { return []string{verify.Echo} }

func (h echo) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	var e verify.Event
	if err := json.Unmarshal(rec.Value, &e); err != nil {
		return stateful.Permanent(err)
	}
	key := string(binary.BigEndian.AppendUint64(nil, e.Seq))
	v, err := tx.Get(ctx, key)
	if err != nil {
		return err
	}
	n := uint64(1)
	if v != nil {
		n += binary.BigEndian.Uint64(v)
	}
	if h.sabotage != verify.LoseFromState || e.Seq != verify.Victim {
		tx.Put(key, binary.BigEndian.AppendUint64(nil, n))
	}
	row := stateful.Row{Topic: verify.Echo, Key: rec.Key, Payload: rec.Value, Time: rec.Time}
	if e.Seq == verify.Victim {
		switch h.sabotage {
		case verify.LoseEcho:
			return nil
		case verify.DoubleEcho:
			if err := tx.Emit(row); err != nil {
				return err
			}
		}
	}
	return tx.Emit(row)
}

// sums is the handler [verify.Sums].
func sums(sabotage string) stateful.Handler {
	return handlers.Window[verify.Event, verify.Sum]{
		Name: verify.Sums, From: verify.Input, To: verify.Sums, LateTo: verify.Late,
		Key:     func(e verify.Event) string { return e.Key },
		Time:    func(e verify.Event) time.Time { return time.UnixMilli(e.At) },
		Windows: window.Tumbling(verify.Size), MaxDelay: verify.Delay,
		Fold: func(s verify.Sum, e verify.Event) (verify.Sum, error) {
			times := int64(1)
			if e.Seq == verify.Victim {
				switch sabotage {
				case verify.LoseFromWindow:
					times = 0
				case verify.DoubleInWindow:
					times = 2
				}
			}
			for range times {
				s.Count, s.Sum, s.Mix = s.Count+1, s.Sum+e.N, s.Mix+verify.Mix(e.Seq)
			}
			return s, nil
		},
		Encode: func(r handlers.Result[verify.Sum]) (any, error) {
			s := r.Value
			s.Key, s.Start = r.Key, r.Window.Start.UnixMilli()
			return s, nil
		},
	}
}
