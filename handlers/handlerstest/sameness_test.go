package handlerstest_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/postgres"
	"github.com/pondage/pondage/stateful/redis"
	"github.com/pondage/pondage/stateful/statefultest"
	"github.com/pondage/pondage/stateful/window"
)

type visit struct {
	User string
	At   time.Time
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func perMinute() handlers.Window[visit, int] {
	return handlers.Window[visit, int]{
		Name: "visits-per-minute", From: "visits", To: "counts", LateTo: "late",
		Key: func(v visit) string { return v.User }, Time: func(v visit) time.Time { return v.At },
		Windows: window.Tumbling(time.Minute), MaxDelay: 10 * time.Second, AllowedLateness: 20 * time.Second,
		Fold: func(n int, _ visit) (int, error) { return n + 1, nil },
	}
}

// visits are out of order by more than the bound now and then, so that some come within the
// allowed lateness and some too late; one in fifty is poison.
func visits(n int) []any {
	r := rand.New(rand.NewPCG(1, 2))
	at := noon
	var out []any
	for range n {
		at = at.Add(time.Duration(r.IntN(1500)) * time.Millisecond)
		back := time.Duration(r.ExpFloat64() * float64(6*time.Second))
		if r.IntN(25) == 0 {
			back += time.Duration(r.IntN(180)) * time.Second
		}
		if r.IntN(50) == 0 {
			out = append(out, []byte("poison"))
			continue
		}
		out = append(out, visit{fmt.Sprintf("user%d", r.IntN(7)), at.Add(-back)})
	}
	return out
}

// luck is what must not change what comes out.
type luck struct {
	backend  string // "": memory
	batch    int
	restarts int // after every so many sends; 0: none
	twice    bool
	faults   float64
	seed     uint64
	crashes  bool
}

func (l luck) String() string {
	return fmt.Sprintf("backend=%s batch=%d restarts=%d twice=%v faults=%v seed=%d crashes=%v", cmp.Or(l.backend, "memory"), l.batch, l.restarts, l.twice, l.faults, l.seed, l.crashes)
}

func play(t *testing.T, events []any, l luck) []string {
	t.Helper()
	backend := openBackend(t, l.backend)
	var lines []string
	run := func(t *testing.T) {
		d := handlerstest.New(t, perMinute(), handlerstest.StartAt(noon), handlerstest.InBatchesOf(l.batch),
			handlerstest.On(statefultest.Faulty(backend, l.seed, l.faults)),
			handlerstest.Configure(func(c *stateful.Config) { c.Limits.CommitRows = 64 }))
		r := rand.New(rand.NewPCG(l.seed, 3))
		chunk := max(l.batch, 1)
		for i := 0; i < len(events); i += chunk {
			if l.crashes && r.IntN(4) == 0 {
				d.CrashAtNth(handlerstest.Points[r.IntN(len(handlerstest.Points))], 1+r.IntN(3))
			}
			d.Send(events[i:min(i+chunk, len(events))]...)
			if l.twice {
				d.Redeliver(chunk)
			}
			if l.restarts > 0 && i/chunk%l.restarts == 0 {
				d.Restart()
			}
		}
		d.End()
		for _, topic := range []string{"counts", "late", handlerstest.DeadLetterTopic} {
			for _, line := range d.Emitted(topic) {
				lines = append(lines, topic+": "+line)
			}
		}
		d.Close()
	}
	if l.faults > 0 {
		synctest.Test(t, run) // every fault is followed by a wait
	} else {
		run(t)
	}
	return lines
}

var spaces atomic.Int64

// openBackend opens an empty backend, which the end of the test closes.
func openBackend(t *testing.T, name string) (b stateful.Backend) {
	t.Helper()
	space := fmt.Sprintf("sameness_%d_%d", os.Getpid(), spaces.Add(1))
	var err error
	switch name {
	case "pebble":
		b, err = pebble.New(t.Context(), pebble.Config{Dir: t.TempDir()})
	case "redis":
		b, err = redis.New(t.Context(), redis.Config{URLs: []string{"redis://" + testserver.SharedRedis(t)}, Prefix: space, Index: true, PoolMin: 1})
	case "postgres":
		b, err = postgres.New(t.Context(), postgres.Config{DSN: testserver.SharedPostgres(t), Schema: space})
	default:
		b = memory.New()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func sameAs(want []string, events []any, l luck) func(*testing.T) {
	return func(t *testing.T) {
		got := play(t, events, l)
		if slices.Equal(got, want) {
			return
		}
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("%d outputs, want %d; the first that differs is %d: %q, want %q", len(got), len(want), i, at(got, i), at(want, i))
			}
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "none"
}

func TestSameness(t *testing.T) {
	const n = 1200
	events := visits(n)
	want := play(t, events, luck{batch: 1})
	counted, late, dead := 0, 0, 0
	for _, line := range want {
		switch line[:4] {
		case "late":
			late++
		case "dead":
			dead++
		default:
			counted++
		}
	}
	if late < 10 || dead < 10 || counted < 50 {
		t.Fatalf("the workload shows nothing: %d results, %d late, %d dead", counted, late, dead)
	}
	for _, backend := range []string{"memory", "pebble", "redis", "postgres"} {
		for _, batch := range []int{1, 17, 1000} {
			for _, restarts := range []int{0, 3} {
				for _, twice := range []bool{false, true} {
					if backend != "memory" && batch == 1 && twice {
						continue // a thousand synced commits, and as many again
					}
					l := luck{backend: backend, batch: batch, restarts: restarts, twice: twice}
					t.Run(l.String(), sameAs(want, events, l))
				}
			}
		}
	}
	for seed := range uint64(25) {
		l := luck{batch: 1 + int(seed%3)*16, restarts: int(seed % 4), faults: 0.3, seed: seed}
		t.Run(l.String(), sameAs(want, events, l))
		l = luck{batch: 1 + int(seed%3)*16, crashes: true, seed: seed}
		t.Run(l.String(), sameAs(want, events, l))
	}
}
