package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
)

// The keys and values of windows: a table's prefix, a time, a key; and a number.
func benchKey(i int) string { return fmt.Sprintf("sw\x00%08d-%06d", 1_700_000, i) }

const (
	benchBatch = 1000
	benchSpace = 100_000 // keys
)

// benchWrites is a batch of keys that are far apart, other ones each time.
func benchWrites(round int) []stateful.Write {
	writes := make([]stateful.Write, benchBatch)
	for i := range writes {
		key := (round*benchBatch + i*7919) % benchSpace
		writes[i] = stateful.Write{Key: benchKey(key), Value: []byte(fmt.Sprintf("%012d", round+i))}
	}
	return writes
}

// benchAll is one write of each key.
func benchAll() []stateful.Write {
	writes := make([]stateful.Write, benchSpace)
	for i := range writes {
		writes[i] = stateful.Write{Key: benchKey(i), Value: []byte("000000000000")}
	}
	return writes
}

// columns returns the arrays that the driver takes.
func columns(writes []stateful.Write) (keys, values [][]byte) {
	for _, w := range writes {
		keys, values = append(keys, []byte(w.Key)), append(values, w.Value)
	}
	return keys, values
}

// BenchmarkCommit writes 1,000 of 100,000 keys, durably, and beside it does the same with what the driver offers: an
// upsert of arrays.
func BenchmarkCommit(b *testing.B) {
	dsn := testserver.SharedPostgres(b)
	b.Run("store", func(b *testing.B) {
		backend := open(b, config(dsn))
		defer backend.Close()
		s, _, err := backend.Open(ctx, task)
		if err != nil {
			b.Fatal(err)
		}
		if err := commit(s, 1, benchAll()...); err != nil {
			b.Fatal(err)
		}
		for seq := uint64(2); b.Loop(); seq++ {
			if err := commit(s, seq, benchWrites(int(seq))...); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "keys/s")
	})
	b.Run("raw pgx", func(b *testing.B) {
		conn := rawTable(b, dsn)
		defer conn.Close(context.Background())
		for round := 2; b.Loop(); round++ {
			keys, values := columns(benchWrites(round))
			if _, err := conn.Exec(ctx, "insert into raw (task, key, value) select 1, * from unnest($1::bytea[], $2::bytea[]) "+
				"on conflict (task, key) do update set value = excluded.value", keys, values); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "keys/s")
	})
}

// BenchmarkGet reads 1,000 of 100,000 keys, and beside it does the same with the driver alone.
func BenchmarkGet(b *testing.B) {
	dsn := testserver.SharedPostgres(b)
	b.Run("store", func(b *testing.B) {
		backend := open(b, config(dsn))
		defer backend.Close()
		s, _, err := backend.Open(ctx, task)
		if err != nil {
			b.Fatal(err)
		}
		if err := commit(s, 1, benchAll()...); err != nil {
			b.Fatal(err)
		}
		round := 0
		for b.Loop() {
			round++
			writes := benchWrites(round)
			keys := make([]string, len(writes))
			for i, w := range writes {
				keys[i] = w.Key
			}
			if _, err := s.Get(ctx, keys...); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "keys/s")
	})
	b.Run("raw pgx", func(b *testing.B) {
		conn := rawTable(b, dsn)
		defer conn.Close(context.Background())
		round := 0
		for b.Loop() {
			round++
			keys, _ := columns(benchWrites(round))
			rows, err := conn.Query(ctx, "select key, value from raw where task = 1 and key = any($1)", keys)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for rows.Next() {
				var k, v []byte
				if err := rows.Scan(&k, &v); err != nil {
					b.Fatal(err)
				}
				n++
			}
			if rows.Err() != nil || n == 0 {
				b.Fatal(n, rows.Err())
			}
		}
		b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "keys/s")
	})
}

// rawTable returns a connection to a table like that of the entries, with the same keys.
func rawTable(b *testing.B, dsn string) *pgx.Conn {
	b.Helper()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		b.Fatal(err)
	}
	schema := newSchema()
	for _, sql := range []string{
		"create schema " + schema, "set search_path = " + schema,
		"create table raw (task int8 not null, key bytea not null, value bytea not null, primary key (task, key)) with (fillfactor = 80)",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			b.Fatal(err)
		}
	}
	keys, values := columns(benchAll())
	if _, err := conn.Exec(ctx, "insert into raw select 1, * from unnest($1::bytea[], $2::bytea[])", keys, values); err != nil {
		b.Fatal(err)
	}
	return conn
}
