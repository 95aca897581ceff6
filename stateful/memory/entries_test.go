package memory

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A scan, at any moment, is that of a sorted map: however keys were set, deleted and set
// again between two scans.
func TestEntriesAreASortedMap(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			e := entries{collide: []uint32{0, ^uint32(255), ^uint32(0)}[seed%3]}
			lengths := []int{40, 40, 40, 5000}[seed%4] // some do not fit into a block
			want := map[string]string{}
			for i := range 10_000 {
				key := fmt.Sprintf("k%04d", rng.IntN(1500))
				switch rng.IntN(5) {
				case 0, 1:
					e.delete(key)
					delete(want, key)
				default:
					v := strings.Repeat("v", rng.IntN(lengths))
					e.set(key, []byte(v))
					want[key] = v
				}
				if rng.IntN(2000) == 0 || i == 9_999 {
					compareEntries(t, &e, want)
				}
			}
		})
	}
}

func compareEntries(t *testing.T, e *entries, want map[string]string) {
	t.Helper()
	var c chunk
	c.fill(e, "", "", len(want)+10)
	if keys := slices.Sorted(maps.Keys(want)); !slices.Equal(c.keys, keys) {
		t.Fatalf("a scan gives %d keys, want %d, in order", len(c.keys), len(keys))
	}
	for i, key := range c.keys {
		if got := string(c.value(i)); got != want[key] {
			t.Fatalf("%s is %q, want %q", key, got, want[key])
		}
	}
}

// Keys that come and go without a scan must not stay behind.
func TestDeletedKeysAreForgottenWithoutAScan(t *testing.T) {
	var e entries
	for i := range 100_000 {
		e.set(fmt.Sprint(i), []byte("v"))
		e.delete(fmt.Sprint(i - 10))
	}
	if n := len(e.fresh); n > 2048 || e.count != 10 || len(e.index) != 10 || e.order.Len() != 0 {
		t.Errorf("%d keys are listed for %d entries, %d in order", n, e.count, e.order.Len())
	}
	var c chunk
	if c.fill(&e, "", "", 100); len(c.keys) != 10 {
		t.Errorf("a scan gives %q", c.keys)
	}
}

// What a peak took is given back once little of it is left.
func TestMemoryOfAPeakIsGivenBack(t *testing.T) {
	var e entries
	want := map[string]string{}
	for i := range 100_000 {
		e.set(fmt.Sprint(i), []byte("some value of some length"))
	}
	peak := len(e.arena.chunks)
	for i := range 100_000 {
		if i%100 != 0 {
			e.delete(fmt.Sprint(i))
			continue
		}
		want[fmt.Sprint(i)] = "some value of some length"
		if i%200 == 0 {
			var c chunk
			c.fill(&e, fmt.Sprint(i), "", 1) // some are in order
		}
	}
	if n := len(e.arena.chunks); n > peak/4+1 {
		t.Errorf("%d chunks of %d are held for a hundredth of the entries", n, peak)
	}
	compareEntries(t, &e, want)
}
