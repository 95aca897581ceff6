package postgres_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/postgres"
)

// What version 1 stored still opens, and a schema made now is that of testdata/v1.sql: to change it is a new version.
func TestFormatsDoNotChange(t *testing.T) {
	text, err := os.ReadFile("testdata/v1.sql")
	if err != nil {
		t.Fatal(err)
	}
	c := config(testserver.SharedPostgres(t))
	conn := connect(t, c.Schema)
	if _, err := conn.PgConn().Exec(ctx, strings.ReplaceAll(string(text), "{schema}", c.Schema)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	b := open(t, c)
	defer b.Close()
	s, head := mustOpen(t, b)
	if want := (stateful.Head{Epoch: 4, Seq: 2, Token: ^uint64(0)}); head != want {
		t.Errorf("the head is %+v, want %+v", head, want)
	}
	if v, err := s.Get(ctx, "\x00\xff", "a", "b"); err != nil || string(v[0]) != "\x01" || v[1] == nil || v[2] != nil {
		t.Errorf("the entries are %q, %v", v, err)
	}
	if l, err := b.Lease(ctx, task, time.Time{}, time.Second); err != nil || l.Token() != 5 {
		t.Errorf("the lease is %v, %v", l, err)
	}
	sink := newSink(t, b, map[string]postgres.Table{"out": logTable(c.Schema)})
	cur, err := sink.Recover(ctx, stateful.Producer{App: "app", Handler: "h", Partition: 7, Epoch: 4}, nil)
	if want := (outbox.Cursor{Epoch: 3, Seq: 12}); err != nil || cur != want {
		t.Errorf("the cursor is %+v, %v, want %+v", cur, err, want)
	}

	now := config(c.DSN)
	if err := open(t, now).Close(); err != nil {
		t.Fatal(err)
	}
	shape := func(schema string) []string {
		return append(
			column(t, conn, "select concat_ws(' ', table_name, column_name, data_type, is_nullable, is_identity, collation_name) from information_schema.columns where table_schema = '"+schema+"' order by table_name, ordinal_position"),
			column(t, conn, "select replace(indexdef, '"+schema+"', '') from pg_indexes where schemaname = '"+schema+"' order by indexname")...)
	}
	if diff := cmp.Diff(shape(c.Schema), shape(now.Schema)); diff != "" {
		t.Errorf("the schema is another (-version 1 +now):\n%s", diff)
	}
}
