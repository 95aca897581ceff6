package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// W5: expired entries go with our own commits: those that a commit itself made, and 100 more; one
// each minute when nothing else is committed.
func TestExpiredEntriesAreSweptWithEachCommitAndEveryMinute(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := scripted(memory.New())
	r := newRig(t, statesWith(10*time.Millisecond, 0), func(c *stateful.Config) {
		c.Backend = b
		c.Now = func() time.Time { return now }
	})
	var puts []string
	for i := range 450 {
		puts = append(puts, fmt.Sprintf("1 put k%03d x", i))
	}
	r.send(puts...)
	left := func(want int) {
		t.Helper()
		n := map[byte]int{}
		for key := range b.stored() {
			n[key[0]]++
		}
		if n['s'] != want || n['x'] != want {
			t.Errorf("%d entries and %d keys of the index are left, want %d", n['s'], n['x'], want)
		}
	}
	left(450)
	r.send("100 nothing")
	left(350)
	r.send("100 put a x", "100 put b x", "100 put c x")
	left(250) // 103 fewer, 3 more
	now = now.Add(time.Hour)
	r.send("100 nothing")
	left(150)
	_, before := b.count()
	for range 59 { // of a second each
		now = now.Add(time.Second)
		r.tick()
	}
	if _, n := b.count(); n != before {
		t.Errorf("%d commits were made within a minute, and nothing was asked", n-before)
	}
	now = now.Add(time.Second)
	r.tick()
	left(50)
	now = now.Add(time.Minute)
	r.tick()
	left(3)
	_, before = b.count()
	now = now.Add(time.Hour)
	r.tick()
	if _, n := b.count(); n != before {
		t.Error("a commit was made when nothing had expired")
	}
}

// stored is what the commits add up to.
func (b *script) stored() map[string][]byte {
	all := map[string][]byte{}
	for _, c := range b.commits {
		for _, w := range c.Writes {
			if all[w.Key] = w.Value; w.Value == nil {
				delete(all, w.Key)
			}
		}
	}
	return all
}

// scans is a backend that counts the scans that begin with each two bytes.
type scans struct {
	stateful.Backend
	n map[string]int
}

func (b scans) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := b.Backend.Open(ctx, id)
	return scansStore{s, b.n}, head, err
}

type scansStore struct {
	stateful.Store
	n map[string]int
}

func (s scansStore) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	s.n[from[:min(2, len(from))]]++
	return s.Store.Scan(ctx, from, to)
}

// What expires by one clock is not looked for by the other.
func TestExpiriesOfTheTwoClocksAreFoundApart(t *testing.T) {
	now := time.UnixMilli(0)
	n := map[string]int{}
	r := newRig(t, statesWith(10*time.Millisecond, stateful.ProcessingTime), func(c *stateful.Config) {
		c.Backend, c.Now = scans{c.Backend, n}, func() time.Time { return now }
	})
	r.send("1 put k x")
	r.restart()
	r.send("1000 nothing")
	r.send("2000 nothing")
	if n["x\x01"] != 2 { // of event time: by each life when it began
		t.Errorf("the index of event time was looked at %d times, want 2", n["x\x01"])
	}
}

// An entry that is swept and written again by one commit has one write there, the newer.
func TestSweptAndWrittenAgainIsOneWrite(t *testing.T) {
	for _, reopened := range []bool{false, true} {
		b := scripted(memory.New())
		r := newRig(t, statesWith(10*time.Millisecond, 0), func(c *stateful.Config) { c.Backend = b })
		r.send("1 put k old")
		if reopened {
			r.restart()
		}
		r.send("200 put k new")
		for _, c := range b.commits {
			seen := map[string]int{}
			for _, w := range c.Writes {
				if seen[w.Key]++; seen[w.Key] > 1 {
					t.Errorf("reopened=%v: commit %d writes %q twice", reopened, c.Seq, w.Key)
				}
			}
		}
		r.restart()
		r.send("201 get k")
		r.want("out: k new [ ] { }")
	}
}

func TestTheNumberOfSweptEntriesIsALimit(t *testing.T) {
	r := newRig(t, statesWith(10*time.Millisecond, 0), func(c *stateful.Config) { c.Limits.SweepEntries = 7 })
	var puts []string
	for i := range 20 {
		puts = append(puts, fmt.Sprintf("1 put k%03d x", i))
	}
	r.send(puts...)
	r.send("100 nothing")
	if n := r.entries(); n["s"] != 13 {
		t.Errorf("%d entries are left, want 13", n["s"])
	}
}

// T3: what a commit sweeps counts against its rows.
func TestSweepsKeepACommitWithinItsRows(t *testing.T) {
	b := scripted(memory.New())
	r := newRig(t, statesWith(10*time.Millisecond, 0), func(c *stateful.Config) {
		c.Backend, c.Limits.CommitRows, c.Limits.SweepEntries = b, 100, 1
	})
	for round := range 10 {
		var puts []string
		for i := range 200 {
			puts = append(puts, fmt.Sprintf("%d put k%03d-%d x", round*100, i, round))
		}
		r.send(puts...)
	}
	for _, c := range b.commits {
		if len(c.Writes) > 110 {
			t.Fatalf("a commit has %d writes", len(c.Writes))
		}
	}
	if n := r.entries(); n["s"] > 250 {
		t.Errorf("%d entries are left: the sweep falls behind", n["s"])
	}
}

// An entry that is written often costs the index one write for each time to live.
func TestABusyEntryIsIndexedOnce(t *testing.T) {
	b := scripted(memory.New())
	r := newRig(t, statesWith(time.Second, 0), func(c *stateful.Config) { c.Backend = b })
	for i := range 500 {
		r.send(fmt.Sprintf("%d put a x", i))
	}
	writes := 0
	for _, c := range b.commits {
		for _, w := range c.Writes {
			if w.Key[0] == 'x' {
				writes++
			}
		}
	}
	if writes != 1 {
		t.Errorf("the index was written %d times", writes)
	}
	r.send("1100 nothing") // the key of the index is due, the entry is not
	r.send("1400 get a")
	r.want("out: a x [ ] { }")
	r.send("1600 nothing")
	r.send("1600 get a")
	if n := r.entries(); n["s"] != 0 || n["x"] != 0 {
		t.Errorf("%v is left", n)
	}
}

// What is taken away, or is to be gone earlier, leaves nothing behind in the index.
func TestDeletedEntriesLeaveTheIndex(t *testing.T) {
	r := newRig(t, statesWith(time.Hour, 0))
	r.send("100 put a x", "90 put a y", "100 append a p q", "100 tag a k 1", "100 add a 1")
	if n := r.entries(); n["s"] != 6 || n["x"] != 6 {
		t.Errorf("%v is stored, want 6 entries and as many keys of the index", n)
	}
	r.send("100 delete a", "100 clear a", "100 untagall a", "100 forget a")
	if n := r.entries(); n["s"] != 0 || n["x"] != 0 {
		t.Errorf("%v is left", n)
	}
}

// An index that cannot be read is damage, and not skipped.
func TestDamagedIndexIsSaid(t *testing.T) {
	r := newRig(t, statesWith(time.Second, 0))
	s, head, err := r.cfg.Backend.Open(context.Background(), stateful.TaskID{App: "test", Handler: "states"})
	if err != nil {
		t.Fatal(err)
	}
	c := stateful.Commit{Seq: head.Seq + 1, Writes: []stateful.Write{{Key: "x\x01short", Value: []byte{}}}}
	if err := s.Submit(context.Background(), c).Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.policy(noRetry)
	wantErr(t, r.process(r.batch("in", "1 nothing")), "the stored state is damaged")
}

// aState is what the model knows of a key.
type aState struct {
	value string
	until int64 // when value is gone
	list  []lasting
	tags  map[string]lasting
	sum   int
	sumTo int64
}

type lasting struct {
	value string
	until int64
}

// Whatever is written, undone, read, swept and started anew: reads give what a plain map gives.
func TestStatesBehaveLikeAModel(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			ttl := []int64{0, 5, 50}[rng.IntN(3)]
			h := statesWith(time.Duration(ttl)*time.Millisecond, 0)
			h.delay = time.Duration(rng.IntN(20)) * time.Millisecond
			r := newRig(t, h, func(c *stateful.Config) {
				c.Limits.CommitRows = 1 + rng.IntN(40)
				c.Limits.SweepEntries = 1 + rng.IntN(5)
				c.Limits.CachedEntries = 1 + rng.IntN(30)
			})
			m := modelOf(ttl, h.delay.Milliseconds())
			var batch, want []string
			var now int64
			for range 400 {
				now += rng.Int64N(4)
				step := fmt.Sprintf("%d %s", now-rng.Int64N(10), anOperation(rng))
				batch = append(batch, step)
				if out := m.step(step); out != "" {
					want = append(want, "out: "+out)
				}
				if rng.IntN(8) == 0 {
					r.send(batch...)
					batch = nil
				}
				if rng.IntN(40) == 0 {
					r.restart()
				}
			}
			r.send(batch...)
			got := slices.DeleteFunc(r.sink.all(), func(s string) bool { return strings.HasPrefix(s, "dead: ") })
			if !slices.Equal(got, want) {
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Fatalf("ttl %d, read %d gives\n\t%s\nwant\n\t%s", ttl, i, got[i], want[i])
					}
				}
				t.Fatalf("%d reads, want %d", len(got), len(want))
			}
			if ttl == 0 {
				return
			}
			for range 400 {
				r.send("9999 nothing")
			}
			if n := r.entries(); n["s"] != 0 || n["x"] != 0 {
				t.Errorf("when all has expired %v is left", n)
			}
		})
	}
}

func anOperation(rng *rand.Rand) string {
	key := string(rune('a' + rng.IntN(3)))
	word := string(rune('p' + rng.IntN(4)))
	ops := []string{
		"put " + key + " " + word, "put " + key + " " + word, "delete " + key,
		"append " + key + " " + word, "append " + key + " " + word + " z", "clear " + key,
		"tag " + key + " " + word + " 1", "tag " + key + " " + word + " 2", "untag " + key + " " + word, "untagall " + key,
		"add " + key + " 1", "add " + key + " 2", "forget " + key,
		"get " + key, "get " + key, "get " + key, "get " + key, "get " + key,
	}
	op := ops[rng.IntN(len(ops))]
	if !strings.HasPrefix(op, "get") && rng.IntN(6) == 0 {
		op += " !"
	}
	return op
}

type stateModel struct {
	ttl, delay int64
	wm         int64
	keys       map[string]*aState
}

func modelOf(ttl, delay int64) *stateModel {
	return &stateModel{ttl: ttl, delay: delay, wm: -1 << 62, keys: map[string]*aState{}}
}

func (m *stateModel) step(s string) (out string) {
	words := strings.Fields(s)
	var at int64
	if _, err := fmt.Sscan(words[0], &at); err != nil {
		panic(err)
	}
	if words[len(words)-1] == "!" {
		return "" // and its time moves nothing
	}
	k := m.keys[words[2]]
	if k == nil {
		k = &aState{tags: map[string]lasting{}}
		m.keys[words[2]] = k
	}
	until := int64(1 << 62)
	if m.ttl > 0 {
		until = at + m.ttl
	}
	gone := func(l int64) bool { return l <= m.wm }
	arg := func(i int) string { return words[3+i] }
	var n int
	switch words[1] {
	case "put":
		k.value, k.until = arg(0), until
	case "delete":
		k.value = ""
	case "append":
		for _, e := range words[3:] {
			k.list = append(k.list, lasting{e, until})
		}
	case "clear":
		k.list = nil
	case "tag":
		k.tags[arg(0)] = lasting{arg(1), until}
	case "untag":
		delete(k.tags, arg(0))
	case "untagall":
		clear(k.tags)
	case "add":
		if k.sum == 0 || gone(k.sumTo) {
			k.sum = 1000
		}
		_, _ = fmt.Sscan(arg(0), &n)
		k.sum += n
		k.sumTo = until
		out = fmt.Sprintf("sum %d", k.sum)
	case "forget":
		k.sum = 0
	case "get":
		out = m.read(words[2], k, gone)
	}
	m.wm = max(m.wm, at-m.delay-1)
	return out
}

func (m *stateModel) read(key string, k *aState, gone func(int64) bool) string {
	s := key + " "
	if k.value != "" && !gone(k.until) {
		s += k.value
	} else {
		s += "-"
	}
	s += " ["
	for _, e := range k.list {
		if !gone(e.until) {
			s += " " + e.value
		}
	}
	s += " ] {"
	for _, t := range []string{"p", "q", "r", "s"} {
		if e, ok := k.tags[t]; ok && !gone(e.until) {
			s += " " + t + ":" + e.value
		}
	}
	s += " }"
	if k.sum != 0 && !gone(k.sumTo) {
		s += fmt.Sprintf(" %d", k.sum)
	}
	return s
}

// A sweep that cannot read is the task's fault: it is opened again, and nothing is lost.
func TestASweepThatFailsIsTriedAgain(t *testing.T) {
	b := scripted(memory.New())
	r := newRig(t, statesWith(10*time.Millisecond, 0), func(c *stateful.Config) { c.Backend = b })
	r.send("1 put a x")
	r.restart() // so that the sweep has to read
	fail := true
	b.get = func(keys []string) error {
		if fail && strings.HasPrefix(keys[0], "s") {
			fail = false
			return errors.New("once")
		}
		return nil
	}
	steps := r.batch("in", "100 nothing", "100 put b y")
	if err := r.process(steps); err != nil {
		t.Log(err)
	}
	if err := r.process(steps); err != nil {
		t.Fatal(err)
	}
	r.send("101 get a", "101 get b")
	r.want("out: a - [ ] { }", "out: b y [ ] { }")
	if fail {
		t.Error("nothing was read")
	}
}
