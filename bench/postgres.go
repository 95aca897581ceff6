package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/postgres"
)

// onPostgres drops the tables of the server before.
func onPostgres(dsn string) func() (stateful.Backend, func() error, error) {
	return func() (stateful.Backend, func() error, error) {
		ctx := context.Background()
		pool, err := pgxpool.New(ctx, dsn)
		if err != nil {
			return nil, nil, err
		}
		_, err = pool.Exec(ctx, "drop schema if exists pondage cascade")
		pool.Close()
		if err != nil {
			return nil, nil, err
		}
		b, err := postgres.New(ctx, postgres.Config{DSN: dsn, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, nil, err
		}
		return b, b.Close, nil
	}
}

func onDatabase(e *env) error {
	const events = 1_000_000
	server, err := testserver.StartPostgres("max_wal_size=4GB")
	if err != nil {
		return err
	}
	defer server.Stop()
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	c := path{pool: p, size: window10s, backend: onPostgres(server.DSN)}
	rec, err := record(c, max(int64(events*e.o.scale), minEvents))
	if err != nil {
		return err
	}
	n, commits := rec.writes()
	_, err = e.table("postgres-binary", fmt.Sprintf("tumbling 10 s count, 100000 keys, PostgreSQL on the same machine, synchronous commits; survives this process, and what the server's settings say; %d writes in %d commits\n  to reach on 2 cores: >= 60 K events/s", n, commits), []side{
		{"pondage", events, func(n int64, w *stopwatch) (sample, error) { return c.run(n, w, nil) }},
		{"the same writes, upsert of arrays", events, func(n int64, w *stopwatch) (sample, error) { return rec.upsert(server.DSN, p.exact(n), w) }},
		timed("hand-written loop", 5*events, p.exact, func(n int64) error { return handLoop(p, n, window10s, decodeBinary) }),
	})
	return err
}

// upsert makes the recorded commits by hand: a goroutine for each partition, a transaction for each commit, without
// anything that would keep it in order or from another owner.
func (r *recorder) upsert(dsn string, events int64, w *stopwatch) (sample, error) {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return sample{}, err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "drop table if exists raw"); err != nil {
		return sample{}, err
	}
	if _, err := pool.Exec(ctx, "create table raw (task int8, key bytea, value bytea not null, primary key (task, key)) with (fillfactor = 80)"); err != nil {
		return sample{}, err
	}
	errs := make([]error, len(r.tasks))
	w.start()
	var wg sync.WaitGroup
	for i, t := range r.tasks {
		wg.Go(func() { errs[i] = t.upsert(ctx, pool) })
	}
	wg.Wait()
	return w.stop(events), errors.Join(errs...)
}

func (r *recording) upsert(ctx context.Context, pool *pgxpool.Pool) error {
	mem, sizes := r.mem, r.sizes
	for _, n := range r.commits {
		var gone, keys, values [][]byte
		for _, s := range sizes[:n] {
			key := mem[:s.key]
			mem = mem[s.key:]
			if s.value < 0 {
				gone = append(gone, key)
				continue
			}
			keys, values = append(keys, key), append(values, mem[:s.value])
			mem = mem[s.value:]
		}
		sizes = sizes[n:]
		if _, err := pool.Exec(ctx, `with gone as (delete from raw where task = $1 and key = any($2))
			insert into raw (task, key, value) select $1, * from unnest($3::bytea[], $4::bytea[])
			on conflict (task, key) do update set value = excluded.value`, int64(r.partition), gone, keys, values); err != nil {
			return err
		}
	}
	return nil
}
