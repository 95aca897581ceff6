package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
)

// onRedis empties the server at addr.
func onRedis(addr string) func() (stateful.Backend, func() error, error) {
	return func() (stateful.Backend, func() error, error) {
		if err := flush(addr); err != nil {
			return nil, nil, err
		}
		b, err := redis.New(context.Background(), redis.Config{
			URLs: []string{"redis://" + addr}, Index: true, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, nil, err
		}
		return b, b.Close, nil
	}
}

func flush(addr string) error {
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	return errors.Join(c.FlushAll(context.Background()).Err(), c.Close())
}

func onServer(e *env) error {
	const events = 2_000_000
	dir, remove, err := tempDir(e.o.dir)
	if err != nil {
		return err
	}
	server, err := testserver.StartRedis(dir)
	if err != nil {
		return errors.Join(err, remove())
	}
	defer func() {
		server.Kill()
		_ = remove() // what is left is in a folder for such things
	}()
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	c := path{pool: p, size: window10s, backend: onRedis(server.Addr)}
	rec, err := record(c, max(int64(events*e.o.scale), minEvents))
	if err != nil {
		return err
	}
	n, commits := rec.writes()
	_, err = e.table("redis-binary", fmt.Sprintf("tumbling 10 s count, 100000 keys, Redis on the same machine, index on; survives this process, and what the server's settings say; %d writes in %d commits\n  to reach on 2 cores: >= 150 K events/s", n, commits), []side{
		{"pondage", events, func(n int64, w *stopwatch) (sample, error) { return c.run(n, w, nil) }},
		{"the same writes, pipelined HSET", events, func(n int64, w *stopwatch) (sample, error) { return rec.pipeline(server.Addr, p.exact(n), w) }},
		timed("hand-written loop", 5*events, p.exact, func(n int64) error { return handLoop(p, n, window10s, decodeBinary) }),
	})
	return err
}

// pipeline makes the recorded commits by hand: a goroutine for each partition, a pipeline for each commit, without
// anything that would keep it whole, in order or from another owner.
func (r *recorder) pipeline(addr string, events int64, w *stopwatch) (sample, error) {
	if err := flush(addr); err != nil {
		return sample{}, err
	}
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	errs := make([]error, len(r.tasks))
	w.start()
	var wg sync.WaitGroup
	for i, t := range r.tasks {
		wg.Go(func() { errs[i] = t.pipeline(c) })
	}
	wg.Wait()
	s := w.stop(events)
	return s, errors.Join(errors.Join(errs...), c.Close())
}

func (r *recording) pipeline(c *goredis.Client) error {
	ctx, hash := context.Background(), fmt.Sprint("raw", r.partition)
	mem, sizes := r.mem, r.sizes
	for _, n := range r.commits {
		pipe := c.Pipeline()
		for _, s := range sizes[:n] {
			key := mem[:s.key]
			mem = mem[s.key:]
			if s.value < 0 {
				_ = pipe.Process(ctx, goredis.NewCmd(ctx, "hdel", hash, key)) // errors come with Exec
				continue
			}
			_ = pipe.Process(ctx, goredis.NewCmd(ctx, "hset", hash, key, mem[:s.value]))
			mem = mem[s.value:]
		}
		sizes = sizes[n:]
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}
