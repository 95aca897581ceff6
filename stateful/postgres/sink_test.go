package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/outbox/outboxtest"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/postgres"
	"github.com/pondage/pondage/stateful/statefultest"
)

// connect returns a connection whose tables are those of a schema.
func connect(t *testing.T, schema string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctx, testserver.SharedPostgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	execOn(t, conn, "set search_path = "+schema)
	return conn
}

func execOn(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

// column returns the texts that a query returns.
func column(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// logTable has each output as a row.
func logTable(schema string) postgres.Table {
	return postgres.Table{
		Name: schema + ".out", Columns: []postgres.Column{{Name: "payload", Type: "text"}},
		Values: func(row *stateful.Row, values []any) ([]any, error) {
			if len(row.Payload) > 100 {
				return nil, errors.New("it is too large")
			}
			return append(values, string(row.Payload)), nil
		},
	}
}

func newSink(t *testing.T, b *postgres.Backend, tables map[string]postgres.Table) outbox.Sink {
	t.Helper()
	s, err := b.Sink(postgres.SinkConfig{Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSinkKeepsTheContract(t *testing.T) {
	t.Parallel()
	outboxtest.TestSink(t, func(t *testing.T) outboxtest.Subject {
		c := config(testserver.SharedPostgres(t))
		b := open(t, c)
		t.Cleanup(func() { b.Close() })
		conn := connect(t, c.Schema)
		execOn(t, conn, "create table out (n int8 generated always as identity, payload text)")
		return outboxtest.Subject{
			Topic: "out",
			Open: func(t *testing.T) outbox.Sink {
				return newSink(t, b, map[string]postgres.Table{"out": logTable(c.Schema)})
			},
			Published: func(t *testing.T) []string { return column(t, conn, "select payload from out order by n") },
			TooLarge:  func() stateful.Row { return stateful.Row{Topic: "out", Payload: make([]byte, 101)} },
		}
	})
}

// adder emits the running sum of each input.
type adder struct{}

func (adder) HandlerName() string { return "adder" }
func (adder) Inputs() []string    { return []string{"in"} }
func (adder) Outputs() []string   { return []string{"out"} }
func (adder) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	old, err := tx.Get(ctx, "sum")
	if err != nil {
		return err
	}
	sum := rec.Offset
	if old != nil {
		var n int64
		fmt.Sscan(string(old), &n)
		sum += n
	}
	tx.Put("sum", fmt.Append(nil, sum))
	return tx.Emit(stateful.Row{Topic: "out", Key: []byte("k"), Payload: fmt.Append(nil, sum), Time: rec.Time})
}

func newAdder(t *testing.T, b stateful.Backend, sink outbox.Sink) *stateful.Processor {
	t.Helper()
	p, err := stateful.NewProcessor(stateful.Config{App: "app", Backend: b, Outbox: outbox.New(sink)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AddTo(nil, adder{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func process(p *stateful.Processor, from, to int64) error {
	b := stateful.Batch{Partition: stateful.Partition{Topic: "in"}, Log: "log", Start: from, End: to}
	for i := from; i < to; i++ {
		b.Records = append(b.Records, stateful.Record{Offset: i, Time: i})
	}
	return p.Process(ctx, "adder", b)
}

func sums(n int64) []string {
	var all []string
	sum := int64(0)
	for i := range n {
		sum += i
		all = append(all, fmt.Sprint(sum))
	}
	return all
}

// Rows of a table are there exactly once, whatever becomes of commits and owners: state and rows are one transaction, and
// nothing is stored to be relayed. With state elsewhere the relay brings them, once, too.
func TestRowsOfATableAreThereOnce(t *testing.T) {
	t.Parallel()
	for name, backendFor := range map[string]func(b *postgres.Backend) stateful.Backend{
		"in the commit":            func(b *postgres.Backend) stateful.Backend { return b },
		"commits fail":             func(b *postgres.Backend) stateful.Backend { return statefultest.Faulty(b, 1, 0.3) },
		"state elsewhere, relayed": func(*postgres.Backend) stateful.Backend { return memory.New() },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(testserver.SharedPostgres(t))
			b := open(t, c)
			defer b.Close()
			conn := connect(t, c.Schema)
			execOn(t, conn, "create table out (n int8 generated always as identity, payload text)")
			tables := map[string]postgres.Table{"out": logTable(c.Schema)}
			backend := backendFor(b)
			const records, batch = 60, 5
			for from := int64(0); from < records; {
				p := newAdder(t, backend, newSink(t, b, tables))
				for range 4 { // then another owner
					if from == records {
						break
					}
					for tries := 0; ; tries++ {
						err := process(p, from, from+batch)
						if err == nil {
							break
						}
						if tries > 50 {
							t.Fatal(err)
						}
					}
					from += batch
				}
				if err := p.Close(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(sums(records), column(t, conn, "select payload from out order by n")); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if n := column(t, conn, "select count(*)::text from entry where get_byte(key, 0) = ascii('o')"); n[0] != "0" {
				t.Errorf("%s outputs are stored with the state", n[0])
			}
			if seq := column(t, conn, "select seq::text from cursor"); len(seq) != 1 || seq[0] != fmt.Sprint(records) {
				t.Errorf("the cursor is %q", seq)
			}
		})
	}
}

// What an owner that was fenced adds to a commit is not written either.
func TestRowsOfAFencedOwnerAreNotWritten(t *testing.T) {
	t.Parallel()
	c := config(testserver.SharedPostgres(t))
	b := open(t, c)
	defer b.Close()
	conn := connect(t, c.Schema)
	execOn(t, conn, "create table out (payload text)")
	s := newSink(t, b, map[string]postgres.Table{"out": logTable(c.Schema)}).(outbox.Joiner)
	p := stateful.Producer{App: "app", Handler: "h", Epoch: 1}
	if _, err := s.Recover(ctx, p, nil); err != nil {
		t.Fatal(err)
	}
	old, _ := mustOpen(t, b)
	if !old.(stateful.Joiner).CanJoin(s.Database()) {
		t.Fatal("the store of the same backend cannot be joined")
	}
	submit := func(st stateful.Store, seq uint64, rows ...stateful.Row) error {
		c := stateful.Commit{Seq: seq, Token: seq, Writes: []stateful.Write{put("a", fmt.Sprint(seq))}, Joined: []stateful.Joined{s.Join(p, rows)}}
		return st.Submit(ctx, c).Wait(ctx)
	}
	if err := submit(old, 1, stateful.Row{Seq: 1, Topic: "out", Payload: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	// Nor are rows that the table has: then the state is older than it.
	if err := submit(old, 2, stateful.Row{Seq: 1, Topic: "out", Payload: []byte("again")}); err == nil {
		t.Error("a row that is there was taken again")
	}
	old, _ = mustOpen(t, b)
	next, _ := mustOpen(t, b)
	if err := submit(old, 2, stateful.Row{Seq: 2, Topic: "out", Payload: []byte("fenced")}); !errors.Is(err, stateful.ErrFenced) {
		t.Errorf("the old owner is told %v", err)
	}
	// Nor does the state move without its rows, when their producer was fenced.
	if _, err := s.Recover(ctx, stateful.Producer{App: "app", Handler: "h", Epoch: 2}, nil); err != nil {
		t.Fatal(err)
	}
	if err := submit(next, 2, stateful.Row{Seq: 2, Topic: "out", Payload: []byte("old producer")}); err == nil {
		t.Error("rows of an old producer were taken")
	}
	if got := column(t, conn, "select payload from out"); !cmp.Equal(got, []string{"first"}) {
		t.Errorf("the table has %q", got)
	}
	next, head := mustOpen(t, b)
	if head.Seq != 1 {
		t.Errorf("the head is %+v", head)
	}
	if v, err := next.Get(ctx, "a"); err != nil || string(v[0]) != "1" {
		t.Errorf("a = %q, %v", v, err)
	}
}

type report struct {
	User  string          `json:"user"`
	Start time.Time       `json:"start"`
	N     int64           `json:"n"`
	Mean  *float64        `json:"mean"`
	More  json.RawMessage `json:"more"`
}

// Every type comes out as it went in, and the last output of a key stays.
func TestValuesOfATable(t *testing.T) {
	t.Parallel()
	c := config(testserver.SharedPostgres(t))
	b := open(t, c)
	defer b.Close()
	conn := connect(t, c.Schema)
	execOn(t, conn, `create table reports ("user" text, start timestamptz, n int8, mean float8, more jsonb, raw bytea, big numeric, ok bool, primary key ("user", start))`)
	execOn(t, conn, `alter table reports rename "user" to who`)
	table := postgres.Table{
		Name: c.Schema + ".reports", Key: []string{"who", "start"},
		Columns: []postgres.Column{
			{Name: "who", Type: "text"},
			{Name: "start", Type: "timestamptz"},
			{Name: "n", Type: "int8"},
			{Name: "mean", Type: "float8"},
			{Name: "more", Type: "jsonb"},
			{Name: "raw", Type: "bytea"},
			{Name: "big", Type: "numeric"},
			{Name: "ok", Type: "bool"},
		},
		Values: func(row *stateful.Row, values []any) ([]any, error) {
			var r report
			if err := json.Unmarshal(row.Payload, &r); err != nil {
				return nil, err
			}
			var mean any
			if r.Mean != nil {
				mean = *r.Mean
			}
			return append(values, r.User, r.Start, r.N, mean, r.More, row.Key, "12345678901234567890.5", r.N > 1), nil
		},
	}
	s := newSink(t, b, map[string]postgres.Table{"reports": table})
	p := stateful.Producer{App: "app", Handler: "h", Epoch: 1}
	names := []string{"ana", `"quoted", \back\ {braces} NULL`, "é\n\t", ""}
	var rows []stateful.Row
	for i := range 8 {
		payload, err := json.Marshal(report{User: names[i%4], Start: time.Unix(int64(i%4), 5000).UTC(), N: int64(i), More: json.RawMessage(`{"a":"\""}`)})
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, stateful.Row{Seq: uint64(i + 1), Topic: "reports", Key: []byte{0, 0xff, '"'}, Payload: payload})
		if err := s.Check(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Commit(ctx, p, rows); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	got := column(t, conn, `select concat_ws('|', who, extract(epoch from start), n, coalesce(mean::text, 'null'), more->>'a', encode(raw, 'hex'), big, ok) from reports order by n`)
	var want []string
	for i, name := range names {
		want = append(want, fmt.Sprintf(`%s|%d.000005|%d|null|"|00ff22|12345678901234567890.5|t`, name, i, i+4))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`{"user":"a\u0000"}`, `{"user":"a","more":{"b":"\u0000"}}`, "no json", `{"start":"0000-01-01T00:00:00Z"}`} {
		if err := s.Check(&stateful.Row{Topic: "reports", Payload: []byte(bad)}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if err := s.Check(&stateful.Row{Topic: "others"}); err == nil {
		t.Error("a topic without a table is taken")
	}
}

func TestTablesAreRefusedWithAllFaults(t *testing.T) {
	b := open(t, config(testserver.SharedPostgres(t)))
	defer b.Close()
	values := func(*stateful.Row, []any) ([]any, error) { return nil, nil }
	_, err := b.Sink(postgres.SinkConfig{})
	wantText(t, err, "Tables are required")
	for _, name := range []string{"", "a b", `a"b`, "a;drop table b", "a.b.c", "A", "$1"} {
		_, err := b.Sink(postgres.SinkConfig{Tables: map[string]postgres.Table{"t": {Name: name, Columns: []postgres.Column{{Name: name, Type: name}}, Key: []string{"k"}}}})
		wantText(t, err, `table of topic "t"`, "Name is", "Values are required", "column", "has the type", `Key names "k"`)
	}
	_, err = b.Sink(postgres.SinkConfig{Tables: map[string]postgres.Table{"t": {Name: "x", Columns: []postgres.Column{{Name: "k", Type: "text"}}, Key: []string{"k"}, Values: values}}})
	wantText(t, err, "Key has all Columns")

	// What only the table knows is the sink's permanent refusal, and of a commit its failure, with the reason.
	c := config(testserver.SharedPostgres(t))
	bb := open(t, c)
	defer bb.Close()
	conn := connect(t, c.Schema)
	execOn(t, conn, "create table out (payload text check (payload <> 'bad'))")
	s := newSink(t, bb, map[string]postgres.Table{"out": logTable(c.Schema)})
	n, err := s.Commit(ctx, stateful.Producer{App: "a", Handler: "h", Epoch: 1}, []stateful.Row{{Seq: 1, Topic: "out", Payload: []byte("bad")}})
	if n != 0 || !stateful.IsPermanent(err) || !strings.Contains(err.Error(), "out_payload_check") {
		t.Errorf("it says %d, %v", n, err)
	}
}
