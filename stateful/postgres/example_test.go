package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/postgres"
)

// examples is a test that ends the program when something fails.
type examples struct{}

func (examples) Helper()                           {}
func (examples) Cleanup(func())                    {}
func (examples) TempDir() string                   { return os.TempDir() }
func (examples) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// State lives in the server: whoever opens a task goes on with it, and whoever opened it before is fenced.
func ExampleNew() {
	ctx := context.Background()
	backend, err := postgres.New(ctx, postgres.Config{
		DSN:    testserver.SharedPostgres(examples{}), // postgres://user:password@host/database
		Schema: newSchema(),                           // or leave it: "pondage"
	})
	if err != nil {
		panic(err)
	}
	defer backend.Close()

	task := stateful.TaskID{App: "clicks", Handler: "per-minute"}
	store, head, err := backend.Open(ctx, task)
	if err != nil {
		panic(err)
	}
	c := stateful.Commit{Seq: head.Seq + 1, Writes: []stateful.Write{{Key: "ana", Value: []byte("1")}}}
	if err := store.Submit(ctx, c).Wait(ctx); err != nil {
		panic(err)
	}
	_, head, err = backend.Open(ctx, task) // another process would
	if err != nil {
		panic(err)
	}
	fmt.Printf("epoch %d, commits %d\n", head.Epoch, head.Seq)
	fmt.Println(store.Submit(ctx, stateful.Commit{Seq: 2}).Wait(ctx))
	// Output:
	// epoch 2, commits 1
	// postgres: commit 2 of task clicks/per-minute/0: epoch 2 has it, this is 1: stateful: fenced by a newer owner
}

// tally counts words, and says how many there are of each.
type tally struct{}

func (tally) HandlerName() string { return "tally" }
func (tally) Inputs() []string    { return []string{"words"} }
func (tally) Outputs() []string   { return []string{"counts"} }

func (tally) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	word, n := string(rec.Value), 0
	v, err := tx.Get(ctx, word)
	if err != nil {
		return err
	}
	_, _ = fmt.Sscan(string(v), &n)
	tx.Put(word, fmt.Append(nil, n+1))
	payload, err := json.Marshal(map[string]any{"word": word, "n": n + 1})
	if err != nil {
		return err
	}
	return tx.Emit(stateful.Row{Topic: "counts", Payload: payload})
}

// Results are rows of a table, in the same transaction as the state they come from.
func ExampleBackend_Sink() {
	ctx := context.Background()
	dsn, schema := testserver.SharedPostgres(examples{}), newSchema()
	backend, err := postgres.New(ctx, postgres.Config{DSN: dsn, Schema: schema})
	if err != nil {
		panic(err)
	}
	defer backend.Close()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		panic(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create table "+schema+".counts (word text primary key, n int8)"); err != nil {
		panic(err)
	}

	sink, err := backend.Sink(postgres.SinkConfig{Tables: map[string]postgres.Table{"counts": {
		Name:    schema + ".counts",
		Columns: []postgres.Column{{Name: "word", Type: "text"}, {Name: "n", Type: "int8"}},
		Key:     []string{"word"}, // the last count of a word is the row
		Values: func(row *stateful.Row, values []any) ([]any, error) {
			var r struct {
				Word string
				N    int64
			}
			err := json.Unmarshal(row.Payload, &r)
			return append(values, r.Word, r.N), err
		},
	}}})
	if err != nil {
		panic(err)
	}
	p, err := stateful.NewProcessor(stateful.Config{App: "example", Backend: backend, Outbox: outbox.New(sink)})
	if err != nil {
		panic(err)
	}
	if err := p.AddTo(nil, tally{}); err != nil {
		panic(err)
	}
	batch := stateful.Batch{Partition: stateful.Partition{Topic: "words"}, Log: "log"}
	for i, word := range []string{"to", "be", "or", "not", "to", "be"} {
		batch.Records = append(batch.Records, stateful.Record{Offset: int64(i), Value: []byte(word)})
	}
	batch.End = int64(len(batch.Records))
	if err := p.Process(ctx, "tally", batch); err != nil {
		panic(err)
	}
	if err := p.Close(ctx); err != nil {
		panic(err)
	}

	rows, err := conn.Query(ctx, "select word, n from "+schema+".counts order by word")
	if err != nil {
		panic(err)
	}
	var word string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&word, &n}, func() error {
		fmt.Println(word, n)
		return nil
	}); err != nil {
		panic(err)
	}
	// Output:
	// be 2
	// not 1
	// or 1
	// to 2
}
