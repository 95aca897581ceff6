package redis_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
)

func TestConfigIsRefusedWithAllFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    redis.Config
		want []string
	}{
		{"without a URL", redis.Config{}, []string{"URLs are required"}},
		{
			"every fault is named",
			redis.Config{Prefix: "a{b}", PoolMin: 9, PoolMax: 3, ReadTimeout: -1, RetryMax: -time.Second, TLS: &tls.Config{InsecureSkipVerify: true}},
			[]string{"URLs are required", "Prefix", "PoolMin is 9", "ReadTimeout is negative", "RetryMax is negative", "RootCAs"},
		},
		{"another scheme", redis.Config{URLs: []string{"http://h:1"}}, []string{"URLs[0]", "no URL of a Redis"}},
		{"no scheme", redis.Config{URLs: []string{"localhost:6379"}}, []string{"URLs[0]"}},
		{"options in a URL", redis.Config{URLs: []string{"rediss://h:1?skip_verify=true"}}, []string{"URLs[0]", "options behind ?"}},
		{"a database that is no number", redis.Config{URLs: []string{"redis://h:1/x"}}, []string{"database is no number"}},
		{"URLs that differ", redis.Config{URLs: []string{"redis://u:p@h:1", "redis://u:q@h:2"}}, []string{"URLs[1]", "not those of the first"}},
		{"a database in a Cluster", redis.Config{URLs: []string{"redis://h:1/2", "redis://h:2/2"}}, []string{"database 2", "only 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := redis.New(ctx, tt.c)
			wantText(t, err, tt.want...)
		})
	}
}

// A password that shows up in an error or a log ends in files that many can read.
func TestSecretsAreNeverShown(t *testing.T) {
	const secret = "s3cr%zz:et/@[" // breaks every parser of URLs in another way
	r := testserver.NewRedis(t, "--requirepass", "right")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	var shown []string
	for _, c := range []redis.Config{
		{URLs: []string{"redis://user:" + secret + "@" + r.Addr}},
		{URLs: []string{"redis://" + secret + "@" + r.Addr + "/0"}},
		{URLs: []string{"redis://user:s3cr@" + r.Addr + "/s3cr"}},
		{URLs: []string{"redis://user:s3cr@" + r.Addr + "?password=s3cr"}},
		{URLs: []string{"redis://user:s3cr@127.0.0.1:port"}},
		{URLs: []string{"redis://user:s3cr@" + r.Addr}},
		{URLs: []string{"redis://:s3cr@" + r.Addr}},
		{URLs: []string{"redis://" + r.Addr}, Username: "s3cr-user", Password: "s3cr"},
		{URLs: []string{"redis://" + r.Addr, "redis://:s3cr@" + r.Addr}},
		{URLs: []string{"redis://" + r.Addr}, MasterName: "m", SentinelPassword: "s3cr"},
	} {
		c.Logger, c.Retries, c.PoolMin = logger, -1, 1
		_, err := redis.New(ctx, c)
		if err == nil {
			t.Fatalf("%s was taken", c)
		}
		shown = append(shown, err.Error(), fmt.Sprintf("%v %+v %#v %s", c, c, c, []redis.Config{c}))
		logger.Info("config", "redis", c)
	}
	for _, text := range append(shown, log.String()) {
		if strings.Contains(text, "s3cr") {
			t.Errorf("shows the secret: %s", text)
		}
	}
}

func TestServersThatEvictAreRefused(t *testing.T) {
	r := testserver.NewRedis(t)
	for policy, refused := range map[string]bool{"noeviction": false, "volatile-lru": false, "allkeys-lru": true, "allkeys-random": true} {
		r.Do("CONFIG SET maxmemory-policy " + policy)
		b, err := redis.New(ctx, config(r.Addr))
		if refused {
			wantText(t, err, policy, "set it to noeviction")
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", policy, err)
			continue
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAServerThatForgetsIsNamed(t *testing.T) {
	r := testserver.NewRedis(t)
	for _, appendonly := range []string{"no", "yes"} {
		r.Do("CONFIG SET appendonly " + appendonly)
		var log bytes.Buffer
		c := config(r.Addr)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if err := open(t, c).Close(); err != nil {
			t.Error(err)
		}
		if warned := strings.Contains(log.String(), "appendonly"); warned != (appendonly == "no") {
			t.Errorf("with appendonly %s the log says %q", appendonly, log.String())
		}
	}
}

// The user needs no more than what docs/backends.md grants.
func TestAUserOfTheACLIsEnough(t *testing.T) {
	r := testserver.NewRedis(t)
	r.Do("ACL SETUSER app on >pass ~pondage-test-* resetchannels -@all +ping +info +hello +select " +
		"+hget +hexists +hmget +hset +hlen +hscan +zcard +zadd +zrange +zrem +hdel +hincrby +time +unlink +eval +evalsha")
	for _, index := range []bool{false, true} {
		c := config(r.Addr)
		c.URLs, c.Index = []string{"redis://app:pass@" + r.Addr}, index
		b := open(t, c)
		s, _ := mustOpen(t, b)
		mustCommit(t, s, 1, put("a", "1"), put("b", "2"))
		mustCommit(t, s, 2, stateful.Write{Key: "a"})
		for _, err := range s.Scan(ctx, "", "") {
			if err != nil {
				t.Error(err)
			}
		}
		l, err := b.Lease(ctx, task, time.Time{}, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Renew(ctx, time.Time{}); err != nil {
			t.Error(err)
		}
		if err := b.Ping(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
