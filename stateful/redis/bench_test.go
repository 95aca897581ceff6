package redis_test

import (
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
)

const (
	benchKeys   = 100_000
	benchWrites = 500
	benchDepth  = 4
)

func benchKey(i int) string { return fmt.Sprintf("sw\x00%016d", i%benchKeys) }

// benchBackend returns a task and a bare client of the same server.
func benchBackend(b *testing.B, index bool) (stateful.Store, *goredis.Client) {
	addr := testserver.SharedRedis(b)
	c := config(addr)
	c.Index, c.ReadTimeout = index, 0
	back := open(b, c)
	s, _, err := back.Open(ctx, task)
	if err != nil {
		b.Fatal(err)
	}
	raw := goredis.NewClient(&goredis.Options{Addr: addr})
	b.Cleanup(func() {
		if err := back.Close(); err != nil {
			b.Error(err)
		}
		raw.FlushDB(ctx)
		raw.Close()
	})
	return s, raw
}

func benchCommits() [][]stateful.Write {
	commits := make([][]stateful.Write, benchKeys/benchWrites)
	for i := range commits {
		for j := range benchWrites {
			commits[i] = append(commits[i], stateful.Write{Key: benchKey(i + j*len(commits)), Value: []byte("0123456789ab")})
		}
	}
	return commits
}

// BenchmarkCommit compares commits of 500 keys with the same writes as bare pipelines of HSET, in turn;
// both are made one after the other, and four at once.
func BenchmarkCommit(b *testing.B) {
	commits := benchCommits()
	for _, index := range []bool{false, true} {
		for _, depth := range []int{1, benchDepth} {
			b.Run(fmt.Sprintf("index=%t/depth=%d", index, depth), func(b *testing.B) {
				s, raw := benchBackend(b, index)
				var seq uint64
				var ours, bare time.Duration
				commit := func(n int) {
					var pending []stateful.Pending
					for range n {
						pending = append(pending, s.Submit(ctx, stateful.Commit{Seq: seq + 1, Writes: commits[seq%uint64(len(commits))]}))
						seq++
						if len(pending) == depth {
							if err := pending[0].Wait(ctx); err != nil {
								b.Fatal(err)
							}
							pending = pending[1:]
						}
					}
					for _, p := range pending {
						if err := p.Wait(ctx); err != nil {
							b.Fatal(err)
						}
					}
				}
				send := func(n, from int) {
					slots := make(chan bool, depth)
					for i := range n {
						slots <- true
						go func() {
							pipe := raw.Pipeline()
							for _, w := range commits[(from+i)%len(commits)] {
								pipe.HSet(ctx, "raw", w.Key, w.Value)
							}
							if _, err := pipe.Exec(ctx); err != nil {
								b.Error(err)
							}
							<-slots
						}()
					}
					for range depth {
						slots <- true
					}
				}
				commit(len(commits)) // all keys are there
				send(len(commits), 0)
				n := 0
				b.ReportAllocs()
				for b.Loop() {
					start := time.Now()
					commit(16)
					ours += time.Since(start)
					start = time.Now()
					send(16, n)
					bare += time.Since(start)
					n += 16
				}
				writes := float64(n * benchWrites)
				b.ReportMetric(writes/ours.Seconds(), "keys/s")
				b.ReportMetric(writes/bare.Seconds(), "raw-keys/s")
				b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-raw")
			})
		}
	}
}

// BenchmarkGet compares reads of 500 keys with bare HMGETs, in turn.
func BenchmarkGet(b *testing.B) {
	s, raw := benchBackend(b, false)
	commits := benchCommits()
	for i, writes := range commits {
		if err := s.Submit(ctx, stateful.Commit{Seq: uint64(i + 1), Writes: writes}).Wait(ctx); err != nil {
			b.Fatal(err)
		}
		var pairs []any
		for _, w := range writes {
			pairs = append(pairs, w.Key, w.Value)
		}
		if err := raw.HSet(ctx, "raw", pairs...).Err(); err != nil {
			b.Fatal(err)
		}
	}
	keys := make([][]string, len(commits))
	for i, writes := range commits {
		for _, w := range writes {
			keys[i] = append(keys[i], w.Key)
		}
	}
	var ours, bare time.Duration
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		for i := range 16 {
			if v, err := s.Get(ctx, keys[(n+i)%len(keys)]...); err != nil || v[0] == nil {
				b.Fatal(v, err)
			}
		}
		ours += time.Since(start)
		start = time.Now()
		for i := range 16 {
			if v, err := raw.HMGet(ctx, "raw", keys[(n+i)%len(keys)]...).Result(); err != nil || v[0] == nil {
				b.Fatal(v, err)
			}
		}
		bare += time.Since(start)
		n += 16
	}
	b.ReportMetric(float64(n*benchWrites)/ours.Seconds(), "keys/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-raw")
}

// BenchmarkScan lists 100 keys under a prefix among a million.
func BenchmarkScan(b *testing.B) {
	s, _ := benchBackend(b, true)
	const keys, perCommit = 1_000_000, 2000
	for from := 0; from < keys; from += perCommit {
		c := stateful.Commit{Seq: uint64(from/perCommit + 1)}
		for i := range perCommit {
			c.Writes = append(c.Writes, stateful.Write{Key: fmt.Sprintf("k%05d/%02d", (from+i)/100, i%100), Value: []byte("0123456789ab")})
		}
		if err := s.Submit(ctx, c).Wait(ctx); err != nil {
			b.Fatal(err)
		}
	}
	i, longest := 0, time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		n := 0
		from := fmt.Sprintf("k%05d/", i*7919%(keys/100))
		for _, err := range s.Scan(ctx, from, from[:len(from)-1]+"0") {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100 {
			b.Fatalf("%d keys", n)
		}
		longest = max(longest, time.Since(start))
		i++
	}
	b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
}
