package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/remotetest"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
)

// TestOwner is no test of its own: it is the process that TestASuspendedOwnerIsFenced suspends.
func TestOwner(t *testing.T) {
	where, ok := remotetest.OwnerAt()
	if !ok {
		return
	}
	dsn, schema, _ := strings.Cut(where, " ")
	c := config(dsn)
	c.Schema = schema
	b := open(t, c)
	defer b.Close()
	remotetest.Owner(b)
}

func TestASuspendedOwnerIsFenced(t *testing.T) {
	t.Parallel()
	c := config(testserver.SharedPostgres(t))
	b := open(t, c)
	defer b.Close()
	remotetest.SuspendedOwner(t, "TestOwner", c.DSN+" "+c.Schema, b)
}

// holdRow is an owner that stands still between the check of its head and the end of its commit: a session that has
// changed the task's row and does not go on.
func holdRow(t *testing.T, dsn, schema string) pgx.Tx {
	t.Helper()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"set local search_path = " + schema, "update task set seq = seq + 1", "update entry set value = 'hung'",
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

func TestAnOwnerThatHangsInItsCommitIsEnded(t *testing.T) {
	t.Parallel()
	c := config(testserver.SharedPostgres(t))
	b := open(t, c)
	defer b.Close()
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1, put("a", "1"))
	tx := holdRow(t, c.DSN, c.Schema)
	other := open(t, c)
	defer other.Close()
	s, head := mustOpen(t, other)
	if head.Epoch != 2 || head.Seq != 1 {
		t.Errorf("the head is %+v", head)
	}
	if err := tx.Commit(ctx); err == nil {
		t.Error("the hung owner's commit was taken")
	}
	mustCommit(t, s, 2, put("b", "2"))
	if v, err := s.Get(ctx, "a", "b"); err != nil || string(v[0]) != "1" || string(v[1]) != "2" {
		t.Errorf("got %q, %v", v, err)
	}
}

// One that only takes its time is waited for, and what it committed is seen.
func TestACommitUnderWayIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := config(testserver.SharedPostgres(t))
	c.TakeOverAfter = 20 * patience
	b := open(t, c)
	defer b.Close()
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1, put("a", "1"))
	tx := holdRow(t, c.DSN, c.Schema)
	opened := make(chan stateful.Head)
	other := open(t, c)
	defer other.Close()
	go func() {
		_, head, err := other.Open(ctx, task)
		if err != nil {
			t.Error(err)
		}
		opened <- head
	}()
	awaitLock(t, c.DSN)
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if head := <-opened; head.Seq != 2 {
		t.Errorf("the head is %+v, want that of the commit that was waited for", head)
	}
}

// awaitLock waits until a session of a backend waits for a lock.
func awaitLock(t *testing.T, dsn string) {
	t.Helper()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for range 3000 {
		n := 0
		if err := conn.QueryRow(ctx, "select count(*) from pg_stat_activity where application_name = 'pondage' and wait_event_type = 'Lock'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return
		}
		_ = clock.Sleep(ctx, patience/100)
	}
	t.Fatal("nobody waits")
}

// A user that may not end the session is told what to do.
func TestASessionThatMayNotBeEndedIsNamed(t *testing.T) {
	t.Parallel()
	s := testserver.NewPostgres(t)
	c := config(s.DSN)
	s.Exec("create role app login password 'p'; grant create on database postgres to app")
	c.DSN = strings.Replace(s.DSN, "pondage:pondage-secret", "app:p", 1)
	b := open(t, c)
	defer b.Close()
	st, _ := mustOpen(t, b)
	mustCommit(t, st, 1, put("a", "1"))
	tx := holdRow(t, s.DSN, c.Schema) // the superuser
	_, _, err := b.Open(ctx, task)
	wantText(t, err, "grant pg_signal_backend")
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	// A process that waited goes on by itself.
	if _, head := mustOpen(t, b); head.Epoch != 2 {
		t.Errorf("the head is %+v", head)
	}
	if err := commit(st, 2); !errors.Is(err, stateful.ErrFenced) {
		t.Errorf("the first owner is told %v", err)
	}
}
