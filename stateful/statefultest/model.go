package statefultest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pondage/pondage/stateful"
)

// testModel compares a task with a map, while commits are pipelined, owners change
// and the backend crashes.
func testModel(t *testing.T, open func(*testing.T) stateful.Backend) {
	rapid.Check(t, func(r *rapid.T) {
		m := &model{t: r, b: open(t), states: []map[string]string{{}}}
		defer func() { m.b.Close() }() //nolint:errcheck // tested elsewhere
		m.open(0)
		r.Repeat(map[string]func(*rapid.T){
			"commit": m.commit,
			"get":    m.get,
			"scan":   m.scan,
			"wait":   func(*rapid.T) { m.wait() },
			"open":   func(*rapid.T) { m.open(m.seq()) },
			"crash":  m.crash,
			"":       func(*rapid.T) {},
		})
	})
}

// model remembers the state after every commit, because a crash may go back to one that
// was not yet durable.
type model struct {
	t       *rapid.T
	b       stateful.Backend
	s       stateful.Store
	epoch   uint64
	states  []map[string]string // by sequence
	pending []stateful.Pending
	durable uint64
}

func (m *model) seq() uint64              { return uint64(len(m.states) - 1) }
func (m *model) state() map[string]string { return m.states[m.seq()] }

var keyGen = rapid.Custom(func(r *rapid.T) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00ÿ")), 0, 3, -1).Draw(r, "key")
})

func (m *model) commit(r *rapid.T) {
	next := maps.Clone(m.state())
	writes := map[string]stateful.Write{}
	for range rapid.IntRange(0, 8).Draw(r, "writes") {
		key := keyGen.Draw(r, "key")
		if rapid.IntRange(0, 3).Draw(r, "kind") == 0 {
			writes[key] = del(key)
			delete(next, key)
		} else {
			value := fmt.Sprint(m.seq()+1, rapid.StringN(0, 40, -1).Draw(r, "value"))
			writes[key] = put(key, value)
			next[key] = value
		}
	}
	m.states = append(m.states, next)
	m.pending = append(m.pending, submit(m.s, m.seq(), slices.Collect(maps.Values(writes))...))
}

func (m *model) wait() {
	for i, p := range m.pending {
		if err := p.Wait(ctx); err != nil {
			m.t.Fatalf("commit %d of %d pending: %v", i+1, len(m.pending), err)
		}
	}
	m.pending, m.durable = nil, m.seq()
}

func (m *model) get(r *rapid.T) {
	keys := rapid.SliceOfN(keyGen, 0, 5).Draw(r, "keys")
	values, err := m.s.Get(ctx, keys...)
	if err != nil {
		r.Fatalf("get: %v", err)
	}
	for i, key := range keys {
		want, ok := m.state()[key]
		if (values[i] != nil) != ok || string(values[i]) != want {
			r.Fatalf("get %q = %q (there: %t), want %q (%t)", key, values[i], values[i] != nil, want, ok)
		}
	}
}

func (m *model) scan(r *rapid.T) { m.compare(keyGen.Draw(r, "from"), keyGen.Draw(r, "to")) }

func (m *model) compare(from, to string) {
	var want []string
	for _, key := range slices.Sorted(maps.Keys(m.state())) {
		if key >= from && (to == "" || key < to) {
			want = append(want, key+"="+m.state()[key])
		}
	}
	got, err := scan(m.s, from, to)
	if err != nil {
		m.t.Fatalf("scan: %v", err)
	}
	if !slices.Equal(got, want) {
		m.t.Fatalf("scan [%q, %q)\n%q\nwant\n%q", from, to, got, want)
	}
}

// open takes the task and checks that its head is of a state there was, at least
// the one of sequence least: the last one, or after a crash the last durable.
func (m *model) open(least uint64) {
	s, head, err := m.b.Open(ctx, clicks)
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	if head.Epoch <= m.epoch {
		m.t.Fatalf("epoch %d after %d", head.Epoch, m.epoch)
	}
	if head.Seq < least || head.Seq > m.seq() {
		m.t.Fatalf("sequence %d, want at least %d and at most %d", head.Seq, least, m.seq())
	}
	if head.Seq > 0 && head.Token != token(head.Seq) {
		m.t.Fatalf("token %d with sequence %d, want %d", head.Token, head.Seq, token(head.Seq))
	}
	m.s, m.epoch = s, head.Epoch
	m.states = m.states[:head.Seq+1]
	m.durable = head.Seq
	m.compare("", "")
}

func (m *model) crash(r *rapid.T) {
	b, ok := m.b.(Reopener)
	if !ok {
		r.Skip("no Reopener")
	}
	m.b = b.Reopen(r)
	m.pending = nil
	m.open(m.durable)
}
