package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	wmiddleware "github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/pondage/pondage/cmd/pondage/internal/flights"
	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

const app = "flights"

// The topics beside those of the views. Dead letters of the loader and of the handlers are kept apart: those of the
// handlers come again when memory's state begins anew, those of the loader do not.
const (
	topicFlights     = "flights"
	topicDead        = "flights-dead"
	topicHandlerDead = "flight-hours-dead" // of all handlers; each letter says of which
)

// outputs are the topics that the handlers write.
func outputs() []string {
	all := []string{topicHandlerDead}
	for _, v := range views {
		all = append(all, v.topic, v.late)
	}
	return all
}

// prepare makes the topics. State in memory over a log that was used before begins a new
// incarnation: the log's input is read again, into empty outputs.
func (s *store) prepare(say func(string, ...any)) error {
	if s.used && s.backend.Domain() == stateful.DomainProcess {
		s.rec.Incarnation++
		s.rec.Backend, s.rec.Guarantee = Memory, ""
		// Before the outputs are emptied: an interrupted change is then begun again.
		if err := s.rec.write(s.dir); err != nil {
			return err
		}
		say("state in memory does not outlive its process: incarnation %d begins, with empty output topics", s.rec.Incarnation)
	}
	for _, topic := range append([]string{topicFlights, topicDead}, outputs()...) {
		if err := s.log.CreateTopic(topic, s.rec.Partitions); err != nil {
			return err
		}
	}
	if s.rec.Incarnation == 1 {
		return nil
	}
	for _, topic := range outputs() {
		if err := s.log.Reset(topic); err != nil {
			return err
		}
	}
	return nil
}

// flightCodec decodes rows of the input.
type flightCodec struct{}

func (flightCodec) Decode(data []byte, v any) (err error) {
	*v.(*flights.Flight), err = flights.Parse(data)
	return err
}

func (flightCodec) Append([]byte, any) ([]byte, error) {
	return nil, errors.New("flights are only read")
}

// newRow is the JSON object of one result.
func newRow(r handlers.Result[handlers.Values]) row {
	return row{
		Origin: r.Key, Start: r.Window.Start.UTC(), End: r.Window.End.UTC(),
		Flights: r.Value.Count(), Mean: round(r.Value.At(1)), Max: int64(r.Value.At(2)),
	}
}

// round gives 2 decimals, as printing does.
func round(x float64) float64 {
	y, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', 2, 64), 64)
	if err != nil || y == 0 {
		return 0 // and not -0
	}
	return y
}

// pipeline is the running part: router and processor.
type pipeline struct {
	*store
	router *message.Router
	proc   *stateful.Processor
	track  *tracker
}

func newPipeline(s *store, t *tracker, warnings io.Writer) (*pipeline, error) {
	// What a user must know comes from the processor; the router's own words repeat it.
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	router.AddMiddleware(
		t.middleware,
		wmiddleware.Recoverer,
		middleware.Retry{}.Middleware,
		middleware.CircuitBreaker{}.Middleware,
	)
	proc, err := stateful.NewProcessor(stateful.Config{
		App: app, Source: s.log, Backend: s.backend, Outbox: outbox.New(s.log.Sink()),
		DeadLetterTo: topicHandlerDead, Incarnation: s.rec.Incarnation,
		Logger: slog.New(slog.NewTextHandler(warnings, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	delay, err := time.ParseDuration(s.rec.MaxDelay)
	if err != nil {
		return nil, err
	}
	all := make([]stateful.Handler, len(views))
	for i := range views {
		all[i] = views[i].handler(delay, &t.stats[i])
	}
	if err := proc.AddTo(router, all...); err != nil {
		return nil, err
	}
	return &pipeline{store: s, router: router, proc: proc, track: t}, nil
}

// errDone ends a run that has done everything.
var errDone = errors.New("all is done")

// run loads and processes until everything is done. The loader may be nil when all is loaded.
func (p *pipeline) run(ctx context.Context, l *loader) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(p.track.ended, func() { stop(errDone) })()
	loading := make(chan struct{})
	go func() {
		defer close(loading)
		if err := p.load(ctx, l); err != nil {
			stop(err)
		}
	}()
	err := p.proc.Run(ctx, p.router)
	why := context.Cause(ctx)
	stop(nil)
	<-loading
	if why == nil || errors.Is(why, errDone) || errors.Is(why, context.Canceled) {
		return err
	}
	return errors.Join(why, err)
}

// load brings the input into the log and then seals it. That the input is whole is
// recorded before, so that a stream need not come again for what follows.
func (p *pipeline) load(ctx context.Context, l *loader) error {
	if l != nil && p.rec.Loaded == nil {
		all, err := l.load(ctx)
		if err != nil {
			return fmt.Errorf("load %s: %w", p.rec.Input.Name, err)
		}
		p.rec.Loaded = &all
		if err := p.rec.write(p.dir); err != nil {
			return err
		}
	}
	return p.log.Seal(topicFlights)
}
