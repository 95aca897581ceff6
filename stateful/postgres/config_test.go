package postgres_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/postgres"
)

func TestConfigIsRefusedWithAllFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    postgres.Config
		want []string
	}{
		{"without a DSN", postgres.Config{}, []string{"DSN is required"}},
		{
			"every fault is named",
			postgres.Config{Schema: "a b", PoolMin: 9, PoolMax: 3, Timeout: -1, RetryMax: -time.Second, TLS: &tls.Config{InsecureSkipVerify: true}},
			[]string{"DSN is required", "Schema", "PoolMin is 9", "Timeout is negative", "RetryMax is negative", "RootCAs"},
		},
		{"what is no DSN", postgres.Config{DSN: "http://h:1"}, []string{"DSN is not understood"}},
		{"TLS that trusts anybody", postgres.Config{DSN: "postgres://h/d?sslmode=require"}, []string{"sslmode=require", "verify-full"}},
		{"TLS that is given up", postgres.Config{DSN: "postgres://h/d?sslmode=allow"}, []string{"sslmode=allow", "verify-full"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := postgres.New(ctx, tt.c)
			wantText(t, err, tt.want...)
		})
	}
}

// A password that shows up in an error or a log ends in files that many can read.
func TestSecretsAreNeverShown(t *testing.T) {
	s := testserver.NewPostgres(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	var shown []string
	for _, dsn := range []string{
		"postgres://pondage:s3cr%zz:et/@[@" + s.Addr + "/postgres?sslmode=disable",
		"postgres://s3cr%zz@" + s.Addr + "/postgres?sslmode=disable",
		"postgres://pondage:s3cr@" + s.Addr + "/postgres?sslmode=disable",
		"postgres://pondage:s3cr@" + s.Addr + "/postgres?sslmode=s3cr",
		"postgres://pondage:s3cr@" + s.Addr + "/postgres?sslmode=require",
		"postgres://pondage:s3cr@" + s.Addr + "/postgres",
		"postgres://pondage:s3cr@127.0.0.1:1/postgres?sslmode=disable",
		"postgres://pondage@" + s.Addr + "/postgres?sslmode=disable&password=s3cr",
		"host=127.0.0.1 user=pondage password=s3cr sslmode=bad port=x",
		"host=127.0.0.1 user=pondage password='s3cr sslmode=disable",
		"host=127.0.0.1 user=pondage password = s 3cr s3cr sslmode=disable",
		"s3cr",
	} {
		c := config(dsn)
		c.Logger, c.Retries, c.DialTimeout = logger, -1, time.Second
		_, err := postgres.New(ctx, c)
		if err == nil {
			t.Fatalf("%s was taken", c)
		}
		shown = append(shown, err.Error(), fmt.Sprintf("%v %+v %#v %s %#v", c, c, c, []postgres.Config{c}, err))
		logger.Info("config", "postgres", c, "err", err)
	}
	for _, text := range append(shown, log.String()) {
		if strings.Contains(text, "s3cr") {
			t.Errorf("shows the secret: %s", text)
		}
	}
}

// Names that a text of PostgreSQL cannot hold, and keys that its index cannot.
func TestWhatCannotBeKeptIsRefused(t *testing.T) {
	b := open(t, config(testserver.SharedPostgres(t)))
	defer b.Close()
	for _, id := range []stateful.TaskID{{Handler: "h"}, {App: "a"}, {App: "a\x00b", Handler: "h"}, {App: "a", Handler: "h\xff"}, {App: "a", Handler: strings.Repeat("h", 501)}} {
		if _, _, err := b.Open(ctx, id); err == nil {
			t.Errorf("%q was opened", id)
		}
	}
	s, _ := mustOpen(t, b)
	// As random as a key may be: an index compresses others.
	long := make([]byte, 2600)
	state := uint32(1)
	for i := range long {
		state = state*1664525 + 1013904223
		long[i] = byte(state >> 24)
	}
	mustCommit(t, s, 1, put(string(long), "1"))
	wantText(t, commit(s, 2, put(string(long)+"x", "1")), "2601 bytes", "Limits.KeyBytes")

	_, err := stateful.NewProcessor(stateful.Config{App: "app", Backend: b, Limits: stateful.Limits{KeyBytes: b.KeyBytes() + 1}})
	wantText(t, err, "Limits.KeyBytes is 1201")
}

func TestSchemasThatAreNotOursAreRefused(t *testing.T) {
	dsn := testserver.SharedPostgres(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	c := config(dsn)
	exec("create schema " + c.Schema)
	exec("create table " + c.Schema + ".theirs (a int)")
	_, err = postgres.New(ctx, c)
	wantText(t, err, "somebody else's", "Config.Schema")

	c = config(dsn)
	for range 2 { // the second time it is there
		if err := open(t, c).Close(); err != nil {
			t.Fatal(err)
		}
	}
	exec("update " + c.Schema + ".pondage_format set version = 2")
	_, err = postgres.New(ctx, c)
	wantText(t, err, "version 2 is newer than 1")
	exec("delete from " + c.Schema + ".pondage_format")
	_, err = postgres.New(ctx, c)
	wantText(t, err, "no version")
}

func TestAServerThatForgetsIsNamed(t *testing.T) {
	var log bytes.Buffer
	c := config(testserver.SharedPostgres(t) + "&synchronous_commit=off")
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if err := open(t, c).Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "synchronous_commit is off") {
		t.Errorf("the log says %q", log.String())
	}
}

// docs/backends.md says what to grant; a user needs no more.
func TestTheRightsThatAUserNeeds(t *testing.T) {
	t.Parallel()
	s := testserver.NewPostgres(t)
	c := config(s.DSN)
	if err := open(t, c).Close(); err != nil {
		t.Fatal(err)
	}
	s.Exec("create role app login password 'p'; grant usage on schema " + c.Schema + " to app; " +
		"grant select, insert, update, delete on all tables in schema " + c.Schema + " to app")
	c.DSN = strings.Replace(s.DSN, "pondage:pondage-secret", "app:p", 1)
	b := open(t, c)
	defer b.Close()
	st, _ := mustOpen(t, b)
	mustCommit(t, st, 1, put("a", "1"), put("b", "2"))
	mustCommit(t, st, 2, stateful.Write{Key: "a"})
	if v, err := st.Get(ctx, "a", "b"); err != nil || v[0] != nil || string(v[1]) != "2" {
		t.Errorf("got %q, %v", v, err)
	}
	l, err := b.Lease(ctx, task, time.Time{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Open(ctx); err != nil {
		t.Error(err)
	}
	if err := l.Release(ctx); err != nil {
		t.Error(err)
	}

	c.Schema = newSchema()
	_, err = postgres.New(ctx, c)
	wantText(t, err, "grant the user CREATE on the database once")
}
