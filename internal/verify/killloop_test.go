package verify_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/verify"
)

// TestKilledAtAnyMoment kills a worker again and again, looks at what each death left behind, and at
// what there is when one life at last comes to its end. It goes on for a minute, for 5 s with -short, or for
// as long as PONDAGE_KILL_LOOP says. PONDAGE_KILL_SEED repeats the rounds of a failure.
func TestKilledAtAnyMoment(t *testing.T) {
	length := time.Minute
	if testing.Short() {
		length = 5 * time.Second
	}
	if s := os.Getenv("PONDAGE_KILL_LOOP"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		length = d
	}
	seed := rand.Uint64() >> 32
	if s := os.Getenv("PONDAGE_KILL_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var kills, looks int
	rounds := 0
	for ; rounds < 2 || ctx.Err() == nil; rounds++ {
		r := &round{t: t, seed: seed + uint64(rounds), time: ctx}
		if !t.Run(fmt.Sprintf("seed=%d", r.seed), r.run) {
			t.Fatalf("repeat with PONDAGE_KILL_SEED=%d", r.seed)
		}
		kills, looks = kills+r.kills, looks+r.looks
	}
	t.Logf("%d rounds, %d kills, %d folders verified", rounds, kills, looks)
}

// A life whose input was loaded by an earlier one may end before its loader has repeated the last events: that is no failure.
func TestALoaderThatIsLateIsNoFailure(t *testing.T) {
	l := verify.Life{Dir: filepath.Join(t.TempDir(), "data"), Partitions: 1, Records: 500, Batch: 100}
	for _, l.Sabotage = range []string{"", verify.LoadLate} {
		if ended, err := life(t, l, nil); !ended || err != nil {
			t.Fatalf("%q: ended: %v, %v", l.Sabotage, ended, err)
		}
	}
}

// round is the life of one folder.
type round struct {
	t     *testing.T
	seed  uint64
	time  context.Context // while it lasts, lives are short
	rng   *rand.Rand
	w     verify.Life
	marks verify.Marks
	kills int
	looks int

	server *server // has the state; nil for a folder
}

func (r *round) run(t *testing.T) {
	r.t, r.rng = t, rand.New(rand.NewPCG(r.seed, 1))
	r.w = verify.Life{
		Dir: filepath.Join(t.TempDir(), "data"), Separate: r.seed%2 == 1, Partitions: 1 + r.rng.IntN(4),
		Seed: r.seed, Records: 5_000 + r.rng.Uint64N(25_000),
	}
	if r.server != nil {
		r.w.Separate, r.w.State, r.w.Space = true, r.server.url, fmt.Sprint("verify_", r.seed)
		r.w.Records = 2_000 + r.rng.Uint64N(8_000)
	}
	defer os.RemoveAll(r.w.Dir)
	for finished := false; !finished; {
		// What may differ from life to life does.
		r.w.Batch = []int{1, 17, 256, 1000}[r.rng.IntN(4)]
		r.w.CommitRows = []int{0, 50, 1000}[r.rng.IntN(3)]
		var kill *killing
		if r.time.Err() == nil {
			kill = &killing{
				after:     50*time.Millisecond + time.Duration(r.rng.Int64N(int64(450*time.Millisecond))),
				fromReady: r.rng.IntN(4) > 0,
			}
		} else {
			r.w.Batch = 1000 // it is late
		}
		outage := func() bool { return false }
		if kill != nil {
			outage = r.server.mayFail(r.rng)
		}
		var err error
		finished, err = life(t, r.w, kill)
		if out := outage(); err != nil && (!out || !strings.Contains(err.Error(), "cannot subscribe")) {
			t.Fatal(err) // one that begins while its server is away may say so and end
		}
		if !finished {
			r.kills++
		}
		if finished || r.rng.IntN(2) == 0 {
			r.look(finished)
		}
	}
}

// look verifies the folder.
func (r *round) look(finished bool) {
	r.t.Helper()
	d, err := read(r.t, r.w)
	if err != nil {
		nothing := errors.Is(err, os.ErrNotExist) || errors.Is(err, pebble.ErrDBDoesNotExist) || strings.Contains(err.Error(), "does not exist")
		if nothing && !finished && r.marks.InputLog == "" {
			return // killed before there was anything
		}
		r.t.Fatalf("seed %d: after %d kills: %v", r.seed, r.kills, err)
	}
	r.looks++
	marks := d.Marks()
	err = errors.Join(verify.Standard.Check(d), marks.After(r.marks))
	if finished {
		err = errors.Join(err, d.Finished(), complete(d, r.w.Records))
	}
	if err != nil {
		r.t.Fatalf("seed %d, %+v: after %d kills:\n%v", r.seed, r.w, r.kills, err)
	}
	r.marks = marks
}

func complete(d *verify.Data, records uint64) error {
	n := uint64(0)
	for _, events := range d.Inputs {
		n += uint64(len(events))
	}
	if n != records {
		return fmt.Errorf("%d inputs, want %d", n, records)
	}
	return nil
}
