package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	wmiddleware "github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/stateful"
)

var errTimeout = errors.New("the run did not end in time")

// runTimeout ends a run that hangs.
const runTimeout = 5 * time.Minute

// newRouter returns a router with the middlewares that all sides have (F5).
func newRouter() (*message.Router, error) {
	r, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	r.AddMiddleware(wmiddleware.Recoverer, middleware.Retry{}.Middleware, middleware.CircuitBreaker{}.Middleware)
	return r, nil
}

// bareRouter delivers the events to a handler that does nothing.
func bareRouter(p *pool, total int64, single bool, w *stopwatch) (sample, error) {
	src := newSource(p, total)
	src.single = single
	router, err := newRouter()
	if err != nil {
		return sample{}, err
	}
	router.AddConsumerHandler("nothing", inputTopic, src, func(*message.Message) error { return nil })
	var s sample
	err = running(router, func(ctx context.Context) error {
		w.start()
		err := src.wait(ctx)
		s = w.stop(p.exact(total))
		return err
	})
	return s, err
}

// running calls f while router runs.
func running(router *message.Router, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), runTimeout, errTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	select {
	case <-router.Running():
	case err := <-ended:
		return fmt.Errorf("router: %w", err)
	}
	err := f(ctx)
	cancel()
	return errors.Join(err, router.Close(), <-ended)
}

// processing calls f while p runs on router.
func processing(p *stateful.Processor, router *message.Router, f func(context.Context) error) error {
	limit, cancelLimit := context.WithTimeoutCause(context.Background(), runTimeout, errTimeout)
	defer cancelLimit()
	ctx, cancel := context.WithCancel(limit)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := p.Run(ctx, router)
		cancel()
		ended <- err
	}()
	select {
	case <-router.Running():
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), <-ended)
	}
	err := f(ctx)
	cancel()
	return errors.Join(err, <-ended)
}

func tempDir(in string) (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp(in, "pondage-bench-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}
