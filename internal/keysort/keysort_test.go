package keysort

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func FuzzOrderIsByteOrder(f *testing.F) {
	f.Add([]byte("b,a,,ab,a\x00,a\x00\x00,a"), "")
	f.Add([]byte("aaaaaaaab,aaaaaaaa,aaaaaaaa\x00,aaaaaaa,aaaaaaa\x00,b"), "one prefix of all")
	f.Add([]byte("\xff\xff,\xff,\x80,\x7f"), "\x00")
	f.Fuzz(func(t *testing.T, text []byte, prefix string) {
		var keys []string
		for part := range bytes.SplitSeq(text, []byte(",")) {
			keys = append(keys, prefix+string(part))
		}
		check(t, keys)
	})
}

func check(t *testing.T, keys []string) {
	t.Helper()
	got := make([]string, 0, len(keys))
	for _, r := range Order(nil, len(keys), func(i int) string { return keys[i] }) {
		got = append(got, keys[r.At])
	}
	if want := slices.Sorted(slices.Values(keys)); !slices.Equal(got, want) {
		t.Errorf("ordered %q, want %q", got, want)
	}
}

func TestManyKeysAreOrderedByTheirBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, letters := range []string{"a", "ab", "\x00\xff", "0123456789", "\x00\x01\x7f\x80\xfe\xff"} {
		keys := make([]string, 10*radixFrom)
		for i := range keys {
			b := make([]byte, rng.IntN(20))
			for j := range b {
				b[j] = letters[rng.IntN(len(letters))]
			}
			keys[i] = string(b)
		}
		check(t, keys)
	}
}

func TestOrderUsesItsMemoryAgain(t *testing.T) {
	keys := strings.Split("d c b a", " ")
	key := func(i int) string { return keys[i] }
	ranks := Order(nil, len(keys), key)
	if n := testing.AllocsPerRun(10, func() { ranks = Order(ranks, len(keys), key) }); n != 0 {
		t.Errorf("%v allocations with memory that is large enough", n)
	}
	if ranks = Order(ranks, 0, key); len(ranks) != 0 {
		t.Errorf("nothing ordered is %v", ranks)
	}
}

func BenchmarkOrder(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		keys := make([]string, n)
		for i, k := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
			keys[i] = fmt.Sprintf("sw\x00\x80\x00\x01\x96\x02\x03\x04%cuser-%07d", k%2, k*8)
		}
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			var ranks []Ranked
			for b.Loop() {
				ranks = Order(ranks, n, func(i int) string { return keys[i] })
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(n), "ns/key")
		})
		b.Run(fmt.Sprintf("n=%d/by-comparing", n), func(b *testing.B) {
			for b.Loop() {
				sorted := slices.Clone(keys)
				slices.Sort(sorted)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(n), "ns/key")
		})
	}
}
