package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pondage/pondage/stateful"
)

// numbers is a handler with a table of numbers.
type numbers struct {
	*adder
	table *stateful.Table[int]
	f     func(ctx context.Context, tx *stateful.Tx, tb *stateful.Table[int], value string) error
}

func (h numbers) Instance(_ context.Context, t *stateful.Task) (stateful.Handler, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[int]{})
	h.table = stateful.NewTable(t, "n", codec)
	return h, err
}

func (h numbers) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	return h.f(ctx, tx, h.table, string(rec.Value))
}

func withTable(f func(context.Context, *stateful.Tx, *stateful.Table[int], string) error) numbers {
	return numbers{adder: sums(), f: f}
}

func putIn(ctx context.Context, tb *stateful.Table[int], key string, n int) error {
	c, err := tb.Load(ctx, []byte(key))
	if err == nil {
		tb.Put(c, n)
	}
	return err
}

// A scan looks at its own range of what the transaction wrote, however much that is.
func TestScansDoNotWalkTheWholeTransaction(t *testing.T) {
	const n = 3000
	var values []string
	for i := range n {
		values = append(values, fmt.Sprintf("%04d", i*7919%n))
	}
	few := func(t *testing.T, looked, found int) {
		if looked < n || looked > 60*n {
			t.Errorf("%d scans looked at %d keys, want a few dozen each", n, looked)
		}
		if found != 1 {
			t.Errorf("a scan found %d entries, want 1", found)
		}
	}
	t.Run("writes", func(t *testing.T) {
		looked, found := 0, 0
		r := newRig(t, each(func(ctx context.Context, tx *stateful.Tx, v string) error {
			tx.Put(v+"/a", []byte(v))
			found = 0
			for _, err := range tx.Scan(ctx, v+"/", v+"0") {
				if err != nil {
					return err
				}
				found++
			}
			looked = stateful.Looked(tx)
			return nil
		}))
		r.send(values...)
		few(t, looked, found)
	})
	t.Run("cells", func(t *testing.T) {
		looked, found := 0, 0
		r := newRig(t, withTable(func(ctx context.Context, _ *stateful.Tx, tb *stateful.Table[int], v string) error {
			if err := putIn(ctx, tb, v+"/a", 1); err != nil {
				return err
			}
			found = 0
			for _, err := range tb.Range(ctx, []byte(v+"/"), []byte(v+"0")) {
				if err != nil {
					return err
				}
				found++
			}
			looked = stateful.LookedInTable(tb)
			return nil
		}))
		r.send(values...)
		few(t, looked, found)
	})
}

// Whatever was written, deleted, undone and committed: what is scanned is what a map has.
func TestScansAreThoseOfAMap(t *testing.T) {
	scan := func(ctx context.Context, tx *stateful.Tx, from, to string) (got []string, err error) {
		for e, err := range tx.Scan(ctx, from, to) {
			if err != nil {
				return nil, err
			}
			got = append(got, e.Key+"="+string(e.Value))
		}
		return got, nil
	}
	cells := func(ctx context.Context, tb *stateful.Table[int], from, to string) (got []string, err error) {
		for c, err := range tb.Range(ctx, []byte(from), []byte(to)) {
			if err != nil {
				return nil, err
			}
			n, _ := c.Value()
			got = append(got, fmt.Sprint(c.Key(), "=", n))
		}
		return got, nil
	}
	key := func(rng *rand.Rand) string { return fmt.Sprintf("%02d", rng.IntN(60)) }
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			model := map[string]int{}
			step := func(ctx context.Context, tx *stateful.Tx, tb *stateful.Table[int], kept map[string]int) error {
				for n := range rng.IntN(40) {
					k := key(rng)
					if rng.IntN(3) == 0 {
						delete(kept, k)
						tx.Delete(k)
						tb.Remove([]byte(k))
					} else {
						kept[k] = n
						tx.Put(k, []byte(strconv.Itoa(n)))
						if err := putIn(ctx, tb, k, n); err != nil {
							return err
						}
					}
					if rng.IntN(4) > 0 {
						continue
					}
					from, to := key(rng), key(rng)
					var want []string
					for _, k := range slices.Sorted(maps.Keys(kept)) {
						if k >= from && k < to {
							want = append(want, fmt.Sprint(k, "=", kept[k]))
						}
					}
					raw, err := scan(ctx, tx, from, to)
					typed, err2 := cells(ctx, tb, from, to)
					if err := errors.Join(err, err2); err != nil {
						return err
					}
					if !slices.Equal(raw, want) || !slices.Equal(typed, want) {
						t.Errorf("[%s, %s): the scan gives %s, the table %s, want %s", from, to, raw, typed, want)
					}
				}
				return nil
			}
			h := withTable(func(ctx context.Context, tx *stateful.Tx, tb *stateful.Table[int], v string) error {
				if rng.IntN(3) == 0 {
					return errors.Join(step(ctx, tx, tb, maps.Clone(model)), errors.New("undone"))
				}
				return step(ctx, tx, tb, model)
			})
			r := newRig(t, h, func(c *stateful.Config) { c.Limits.CommitRows = 200 })
			r.policy(stateful.Policy{Retry: &stateful.Retry{OnExhausted: stateful.DeadLetter}}) // a wait would commit
			for i := range 8 {
				r.send(strings.Split("abcdef", "")...)
				if i%3 == 2 {
					r.restart()
				}
			}
		})
	}
}

// Cells may be changed while a range runs: what is taken away before its turn does not come.
func TestARangeSeesWhatItsLoopChanges(t *testing.T) {
	var got []string
	r := newRig(t, withTable(func(ctx context.Context, _ *stateful.Tx, tb *stateful.Table[int], v string) error {
		for _, k := range strings.Fields(v) {
			if err := putIn(ctx, tb, k, 1); err != nil {
				return err
			}
		}
		got = nil
		for c, err := range tb.Range(ctx, []byte("a"), []byte("z")) {
			if err != nil {
				return err
			}
			got = append(got, c.Key())
			if c.Key() == "b" {
				tb.Remove([]byte("c")) // stored
				tb.Remove([]byte("d")) // not yet
			}
		}
		return nil
	}))
	r.send("a c")
	r.send("b d e")
	if want := []string{"a", "b", "e"}; !slices.Equal(got, want) {
		t.Errorf("the range gives %s, want %s", got, want)
	}
}
