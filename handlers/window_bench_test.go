//go:build unix

package handlers_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// click is an event in a binary encoding that copies nothing: 8 bytes of time, then the
// key, then 80 bytes that nobody reads.
type click struct {
	at  int64
	key string
}

const clickRest = 80

// AppendBinary is there because only a type with both directions is taken for binary.
func (c *click) AppendBinary(b []byte) ([]byte, error) {
	b = append(binary.LittleEndian.AppendUint64(b, uint64(c.at)), c.key...)
	return append(b, make([]byte, clickRest)...), nil
}

func (c *click) UnmarshalBinary(b []byte) error {
	if len(b) < 9+clickRest {
		return errors.New("a click has at least 89 bytes")
	}
	c.at = int64(binary.LittleEndian.Uint64(b))
	key := b[8 : len(b)-clickRest]
	c.key = unsafe.String(unsafe.SliceData(key), len(key))
	return nil
}

func clicks() handlers.Window[click, int] {
	return handlers.Window[click, int]{
		Name: "clicks", From: "events", To: "counts",
		Key:      func(c click) string { return c.key },
		Time:     func(c click) time.Time { return time.UnixMilli(c.at) },
		Windows:  window.Tumbling(10 * time.Second),
		MaxDelay: time.Second,
		Fold:     func(n int, _ click) (int, error) { return n + 1, nil },
	}
}

// clickstream is the same batch over and over with other keys and times.
type clickstream struct {
	recs []stateful.Record
	keys int
	n    int64 // events so far
	rate int64 // events for each millisecond of event time
}

func newClickstream(batch, keys int, rate int64) *clickstream {
	s := &clickstream{recs: make([]stateful.Record, batch), keys: keys, rate: rate}
	for i := range s.recs {
		s.recs[i].Value = make([]byte, 8+len("user-0000000")+clickRest)
	}
	return s
}

// next fills the batch that begins at offset s.n.
func (s *clickstream) next() []stateful.Record {
	for i := range s.recs {
		r := &s.recs[i]
		at := 1_767_225_600_000 + s.n/s.rate
		binary.LittleEndian.PutUint64(r.Value, uint64(at))
		key := uint64(s.n) * 0x9E3779B97F4A7C15 >> 20 % uint64(s.keys)
		copy(r.Value[8:], "user-")
		for d := 19; d > 12; d-- {
			r.Value[d] = byte('0' + key%10)
			key /= 10
		}
		r.Time, r.Offset = at, s.n
		s.n++
	}
	return s.recs
}

func BenchmarkWindow(b *testing.B) {
	for _, bm := range []struct {
		name string
		keys int
		rate int64
	}{
		{"keys=100", 100, 100},
		{"keys=10000", 10_000, 100},
		{"keys=100000", 100_000, 100},
		{"keys=100000/firing-often", 100_000, 10},
	} {
		b.Run(bm.name, func(b *testing.B) {
			e := newEngine(b, clicks())
			e.sink.drop = true
			s := newClickstream(1024, bm.keys, bm.rate)
			for s.n < 1<<21 { // until windows fire and memory is there
				e.offset = s.n
				if err := e.batch(s.next(), false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			start, busy := s.n, cpuTime()
			for b.Loop() {
				e.offset = s.n
				if err := e.batch(s.next(), false); err != nil {
					b.Fatal(err)
				}
			}
			busy = cpuTime() - busy
			events := float64(s.n - start)
			if !e.sink.sawOnly("counts") {
				b.Fatal("there are dead letters")
			}
			b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(busy.Nanoseconds())/events, "cpu-ns/event")
		})
	}
}

// cpuTime is the processor time used so far: other than the clock's it means something on
// a machine that does other things.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// One million open windows of a count, with the backend that keeps them in memory, stay within 250 MB, and as
// many sessions within 300.
func TestAMillionOpenWindowsFitInMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	sessions := clicks()
	sessions.Windows = window.Session(10 * time.Second)
	sessions.Merge = func(a, b int) (int, error) { return a + b, nil }
	for _, tt := range []struct {
		name  string
		w     handlers.Window[click, int]
		limit float64
	}{{"tumbling", clicks(), 250}, {"sessions", sessions, 300}} {
		t.Run(tt.name, func(t *testing.T) { fitsInMemory(t, tt.w, tt.limit) })
	}
}

func fitsInMemory(t *testing.T, w handlers.Window[click, int], limit float64) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	const n = 1_000_000
	before := heap()
	e := newEngine(t, w, func(c *stateful.Config) { c.Limits.CachedEntries = 2 * n })
	for i := range n / 1000 {
		recs := make([]stateful.Record, 1000)
		for j := range recs {
			value := binary.LittleEndian.AppendUint64(nil, 1_767_225_600_000)
			value = fmt.Appendf(value, "user-%07d", i*1000+j)
			recs[j] = stateful.Record{Value: append(value, make([]byte, clickRest)...), Time: stateful.NoTime, Offset: e.offset + int64(j)}
		}
		if err := e.batch(recs, false); err != nil {
			t.Fatal(err)
		}
	}
	grown := heap() - before
	if dead := e.published("dead"); len(dead) > 0 {
		t.Fatalf("%d dead letters: %s", len(dead), reason(dead[0]))
	}
	t.Logf("%.0f MB for %d windows, %.0f bytes each", grown, n, grown*1e6/n)
	if grown > limit {
		t.Errorf("the heap has grown by %.0f MB, the limit is %.0f", grown, limit)
	}
	if err := e.p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(e)
}
