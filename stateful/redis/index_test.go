package redis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
)

func scanKeys(t *testing.T, s stateful.Store, from, to string) []string {
	t.Helper()
	var keys []string
	for e, err := range s.Scan(ctx, from, to) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	return keys
}

// Whoever opens a task finds the index that its configuration says, whatever others left.
func TestTheIndexFollowsTheConfiguration(t *testing.T) {
	c := config(testserver.SharedRedis(t))
	client := goredis.NewClient(&goredis.Options{Addr: testserver.SharedRedis(t)})
	defer client.Close()
	index := c.Prefix + "{app:h:7}:i"
	var want []string
	for i, indexed := range []bool{false, true, false, true, true} {
		c.Index = indexed
		b := open(t, c)
		s, head := mustOpen(t, b)
		if got := scanKeys(t, s, "", ""); !slices.Equal(got, want) {
			t.Fatalf("owner %d, index=%t: %d keys, want %d", i, indexed, len(got), len(want))
		}
		commit := stateful.Commit{Seq: head.Seq + 1}
		// One key comes and one goes, so that the number alone tells nothing.
		if len(want) > 0 {
			commit.Writes = append(commit.Writes, stateful.Write{Key: want[0]})
			want = want[1:]
		}
		for j := range 2500 - len(want) {
			key := fmt.Sprintf("\x00k%d/%05d", i, j)
			commit.Writes = append(commit.Writes, put(key, "v"))
			want = append(want, key)
		}
		slices.Sort(want)
		if err := s.Submit(ctx, commit).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if got := scanKeys(t, s, "", ""); !slices.Equal(got, want) {
			t.Fatalf("owner %d, index=%t: %d keys after its commit, want %d", i, indexed, len(got), len(want))
		}
		if n := client.ZCard(ctx, index).Val(); indexed != (n == int64(len(want))) {
			t.Errorf("owner %d, index=%t: the index has %d keys", i, indexed, n)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An index that was evicted or changed is found out, and made anew with the next open.
func TestADamagedIndexIsFoundOut(t *testing.T) {
	c := config(testserver.SharedRedis(t))
	c.Index = true
	client := goredis.NewClient(&goredis.Options{Addr: testserver.SharedRedis(t)})
	defer client.Close()
	b := open(t, c)
	defer b.Close()
	index := c.Prefix + "{app:h:7}:i"
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1, put("a", "1"), put("b", "2"))
	for name, damage := range map[string]func() error{
		"it is gone":  func() error { return client.Del(ctx, index).Err() },
		"one is gone": func() error { return client.ZRem(ctx, index, "a").Err() },
		"one is more": func() error { return client.ZAdd(ctx, index, goredis.Z{Member: "x"}).Err() },
		"one is wrong": func() error {
			client.ZRem(ctx, index, "a")
			return client.ZAdd(ctx, index, goredis.Z{Member: "x"}).Err()
		},
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		wantText(t, scanErr(s), index)
		if name == "one is wrong" { // which the next open cannot see from the number
			client.Del(ctx, index)
		}
		s, _ = mustOpen(t, b)
		if got := scanKeys(t, s, "", ""); strings.Join(got, "") != "ab" {
			t.Errorf("%s: then a scan gives %q", name, got)
		}
	}
}

// Keys are no patterns, and the longest commit needs several calls within its script.
func TestCommitsOfManyKeysOfAnyBytes(t *testing.T) {
	for _, indexed := range []bool{false, true} {
		c := config(testserver.SharedRedis(t))
		c.Index = indexed
		b := open(t, c)
		s, _ := mustOpen(t, b)
		const n = 10_001
		var writes []stateful.Write
		for i := range n {
			writes = append(writes, put(fmt.Sprintf("*?[a-%c]\\^{}%05d", i%7, i), fmt.Sprint(i)))
		}
		mustCommit(t, s, 1, append(writes, put("*?[b", ""))...)
		if got := scanKeys(t, s, "*?[a-", "*?[a."); len(got) != n || !slices.IsSorted(got) {
			t.Errorf("index=%t: %d keys, sorted = %t", indexed, len(got), slices.IsSorted(got))
		}
		if got := scanKeys(t, s, "*?[a-\x03", "*?[a-\x04"); len(got) != (n+3)/7 {
			t.Errorf("index=%t: %d keys with the prefix", indexed, len(got))
		}
		for i := range writes {
			if i != n/2 {
				writes[i].Value = nil
			}
		}
		mustCommit(t, s, 2, writes...)
		if got := scanKeys(t, s, "", ""); len(got) != 2 || got[0] != writes[n/2].Key {
			t.Errorf("index=%t: %q is left", indexed, got)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCommitsAreLimited(t *testing.T) {
	b := open(t, config(testserver.SharedRedis(t)))
	defer b.Close()
	s, _ := mustOpen(t, b)
	wantText(t, commit(s, 1, make([]stateful.Write, 200_001)...), "200001 writes", "lower Limits.CommitRows")
	s, head := mustOpen(t, b)
	if head.Seq != 0 {
		t.Errorf("the head is %+v", head)
	}
	mustCommit(t, s, 1)
	if b.CommitRows() != 2000 || b.Domain() != stateful.DomainServer {
		t.Errorf("commits have %d rows by default, in the domain %s", b.CommitRows(), b.Domain())
	}
}

func TestAClientThatWasGivenIsNotClosed(t *testing.T) {
	client := goredis.NewClient(&goredis.Options{Addr: testserver.SharedRedis(t), MaxRetries: -1})
	defer client.Close()
	b := open(t, redis.Config{Client: client, Prefix: newPrefix()})
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := client.Ping(ctx).Err(); err != nil {
		t.Errorf("the client was closed: %v", err)
	}
}
