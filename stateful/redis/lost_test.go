package redis_test

import (
	"errors"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
)

// What the server lost is never taken for a task that just begins, nor for one that is further behind.
func TestALossIsRefused(t *testing.T) {
	r := testserver.NewRedis(t)
	client := goredis.NewClient(&goredis.Options{Addr: r.Addr})
	defer client.Close()
	for _, tt := range []struct {
		name string
		lose func(hash, older string) error
		want string
	}{
		{"flushed", func(string, string) error { return client.FlushAll(ctx).Err() }, "nothing of the task is there"},
		{"evicted", func(hash, _ string) error { return client.Del(ctx, hash).Err() }, "nothing of the task is there"},
		{"gone back to an older copy", func(hash, older string) error {
			return client.RestoreReplace(ctx, hash, 0, older).Err()
		}, "commit 1 of epoch 1 is the last it has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, index := range []bool{false, true} {
				c := config(r.Addr)
				c.Index = index
				b := open(t, c)
				hash := c.Prefix + "{app:h:7}:s"
				s, _ := mustOpen(t, b)
				mustCommit(t, s, 1, put("a", "1"))
				older, err := client.Dump(ctx, hash).Result()
				if err != nil {
					t.Fatal(err)
				}
				mustCommit(t, s, 2, put("a", "2"))
				if err := tt.lose(hash, older); err != nil {
					t.Fatal(err)
				}
				_, getErr := s.Get(ctx, "a")
				errs := map[string]error{"get": getErr, "scan": scanErr(s), "commit": commit(s, 3)}
				for range 2 { // nor does asking again
					_, _, err = b.Open(ctx, task)
					errs["open"] = err
				}
				for what, err := range errs {
					if !errors.Is(err, redis.ErrLost) {
						t.Errorf("%s says %v, want %v", what, err, redis.ErrLost)
					}
					wantText(t, err, tt.want, "restore the server's data", "start this process again")
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				// The way out that the error names.
				b = open(t, c)
				if _, _, err := b.Open(ctx, task); errors.Is(err, redis.ErrLost) {
					wantText(t, err, "was opened before", "h:7", c.Prefix+"{app}:t")
					if tt.name != "evicted" {
						t.Errorf("a new process is told %v", err)
					}
					if err := client.HDel(ctx, c.Prefix+"{app}:t", "h:7").Err(); err != nil {
						t.Fatal(err)
					}
				} else if tt.name == "evicted" {
					t.Errorf("a new process is told %v", err)
				}
				s, head := mustOpen(t, b)
				mustCommit(t, s, head.Seq+1)
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func scanErr(s stateful.Store) error {
	for _, err := range s.Scan(ctx, "", "") {
		if err != nil {
			return err
		}
	}
	return nil
}

// After a loss two owners can have one epoch. Only one of them commits.
func TestOwnersOfOneEpochAreToldApart(t *testing.T) {
	c := config(testserver.SharedRedis(t))
	client := goredis.NewClient(&goredis.Options{Addr: testserver.SharedRedis(t)})
	defer client.Close()
	first, second := open(t, c), open(t, c)
	defer first.Close()
	defer second.Close()
	old, _ := mustOpen(t, first)
	if err := client.Del(ctx, c.Prefix+"{app:h:7}:s", c.Prefix+"{app}:t").Err(); err != nil {
		t.Fatal(err)
	}
	s, head := mustOpen(t, second)
	if head.Epoch != 1 {
		t.Fatalf("the head is %+v", head)
	}
	if err := commit(old, 1, put("a", "old")); !errors.Is(err, stateful.ErrFenced) || !errors.Is(err, redis.ErrLost) {
		t.Errorf("the first owner is told %v", err)
	}
	mustCommit(t, s, 1, put("a", "new"))
}

func TestHeadsOfOtherVersionsAreRefused(t *testing.T) {
	addr := testserver.SharedRedis(t)
	client := goredis.NewClient(&goredis.Options{Addr: addr})
	defer client.Close()
	for head, want := range map[string]string{"\x02and more": "newer than 1", "\x01abc": "damaged", "\x00": "damaged"} {
		c := config(addr)
		b := open(t, c)
		if err := client.HSet(ctx, c.Prefix+"{app:h:7}:s", "\x00h", head).Err(); err != nil {
			t.Fatal(err)
		}
		_, _, err := b.Open(ctx, task)
		wantText(t, err, want)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNamesThatWouldMixTasksAreRefused(t *testing.T) {
	b := open(t, config(testserver.SharedRedis(t)))
	defer b.Close()
	for _, id := range []stateful.TaskID{{Handler: "h"}, {App: "a"}, {App: "a:b", Handler: "h"}, {App: "a}", Handler: "h"}, {App: "{", Handler: "h"}} {
		if _, _, err := b.Open(ctx, id); err == nil {
			t.Errorf("%q was opened", id)
		}
	}
}
