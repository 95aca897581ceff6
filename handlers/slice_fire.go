package handlers

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// sliceDrain goes over the keys that have something in one window, in order.
type sliceDrain[A any] struct {
	slicedWindow
	on         bool
	kind       uint8
	time       int64
	least      int64 // the first slice that matters, and the one behind the last: those of the window, or those that go
	below      int64
	keys       []*slicedKey[A]
	i          int    // keys before are done with
	kept       int    // of members, those that stay: keys[:kept]
	members    bool   // keys are the members
	more       bool   // the store may have other keys
	next       []byte // where the next chunk of them begins
	everything bool   // it began at the first key, and all it came by is in memory
	head       *slicedKey[A]
}

// Due implements [stateful.Firer].
func (w *slicedTask[E, A]) Due() int64 { return w.next }

// FlushTo implements [stateful.Flusher].
func (w *slicedTask[E, A]) FlushTo() int64 {
	for _, s := range slices.Backward(w.open) {
		if _, has := s.stored.Value(); has { // a record that failed may have opened others
			return s.gone
		}
	}
	return window.Never
}

// ripe returns the end of the first window that has not fired.
func (w *slicedTask[E, A]) ripe() (end int64, ok bool) {
	last := upTo(w.fired, w.wait)
	if w.finalOnly { // what an earlier, smaller lateness had given is not given again
		last = max(last, w.about.closed+1)
	}
	i, _ := w.ending(last)
	if i == len(w.open) {
		return 0, false
	}
	if end = w.open[i].oldest; end <= last {
		end = w.cut.after(last)
	}
	return end, true
}

// outlived returns the end of the first window that has fired and is the last of some slice.
func (w *slicedTask[E, A]) outlived() (end int64, ok bool) {
	if len(w.open) == 0 || w.fires(w.open[0].newest) > w.fired {
		return 0, false
	}
	return w.open[0].newest, true
}

// reckon computes when something is due next.
func (w *slicedTask[E, A]) reckon() {
	w.next = math.MaxInt64
	if end, ok := w.ripe(); ok {
		w.next = w.fires(end)
	}
	if _, ok := w.outlived(); ok {
		w.next = min(w.next, w.open[0].gone)
	}
	if w.stats != nil {
		w.stats.open.Store(w.windows())
	}
}

// NextFiring implements [stateful.Firer]. What is yet to be forgotten is known by
// its being there; what fired and is still there is known by from and after.
func (w *slicedTask[E, A]) NextFiring(ctx context.Context, _ *stateful.Tx, from, wm int64, after stateful.Firing) (stateful.Firing, bool, error) {
	if d := w.given; d != nil && d.firing() == after {
		w.settle(d)
	}
	w.given = nil
	w.fired = max(w.fired, from)
	for {
		w.begin(wm, after)
		ended, err := w.fill(ctx, &w.firing)
		if err == nil && !ended {
			ended, err = w.fill(ctx, &w.cleaning)
		}
		if err != nil {
			return stateful.Firing{}, false, err
		}
		if !ended {
			break
		}
	}
	d := &w.firing
	if c := &w.cleaning; !d.on || c.on && earlier(c.firing(), d.firing()) {
		d = c
	}
	if !d.on {
		w.reckon()
		if w.stats != nil {
			w.stats.watermark.Store(wm)
		}
		return stateful.Firing{}, false, nil
	}
	w.given = d
	return d.firing(), true, nil
}

func (d *sliceDrain[A]) firing() stateful.Firing {
	return stateful.Firing{Time: d.time, Kind: d.kind, Key: d.head.key}
}

// begin starts the drains that are due.
func (w *slicedTask[E, A]) begin(wm int64, after stateful.Firing) {
	for !w.firing.on {
		end, ok := w.ripe()
		if !ok || w.fires(end) > wm {
			break
		}
		at := w.fires(end)
		if at < after.Time { // before the restart
			w.fired = at
			continue
		}
		w.drain(&w.firing, fireKind, end, at, at == after.Time, after.Key)
	}
	if end, ok := w.outlived(); ok && !w.cleaning.on && w.open[0].gone <= wm {
		w.drain(&w.cleaning, cleanKind, end, w.open[0].gone, false, "")
	}
}

// drain begins with the first key, or with the one behind past.
func (w *slicedTask[E, A]) drain(d *sliceDrain[A], kind uint8, end, at int64, resume bool, past string) {
	*d = sliceDrain[A]{on: true, kind: kind, time: at, slicedWindow: w.cut.windowTo(end)}
	if d.least, d.below = d.from, d.to; kind == cleanKind {
		d.least, d.below = math.MinInt64, d.goes
	}
	switch {
	case w.cold:
		d.more, d.everything = true, !resume
		if resume {
			d.next = behindKey(nil, string(appendEscaped(nil, past)))
		}
	case kind == fireKind:
		w.gather(end)
		d.keys, d.members = w.members, true
		if resume {
			d.i, _ = slices.BinarySearchFunc(d.keys, past+"\x00", func(k *slicedKey[A], key string) int { return strings.Compare(k.key, key) })
			d.kept = d.i
		}
	default:
		d.keys = w.leaving(end)
	}
}

// gather makes members those keys that came to have a slice in the window that ends at end, and to which
// that did not happen before.
func (w *slicedTask[E, A]) gather(end int64) {
	i, _ := w.search(w.cut.number(max(w.covered, end-w.cut.Size())))
	for ; i < len(w.open) && w.open[i].Start < end; i++ {
		for _, k := range w.open[i].keys {
			if !k.member {
				k.member = true
				w.joining = append(w.joining, k)
			}
		}
	}
	w.covered = max(w.covered, end)
	if len(w.joining) == 0 {
		return
	}
	w.joining = inOrder(w.joining)
	n, m := len(w.members), len(w.joining)
	w.members = slices.Grow(w.members, m)[:n+m]
	for at := n + m - 1; m > 0; at-- { // merged from behind
		if n > 0 && w.members[n-1].key > w.joining[m-1].key {
			w.members[at] = w.members[n-1]
			n--
		} else {
			w.members[at] = w.joining[m-1]
			m--
		}
	}
	clear(w.joining)
	w.joining = w.joining[:0]
}

// leaving returns the keys that have slices whose last window ends at end.
func (w *slicedTask[E, A]) leaving(end int64) (keys []*slicedKey[A]) {
	for i, _ := w.ending(end - 1); i < len(w.open) && w.open[i].newest == end; i++ {
		keys = append(keys, w.open[i].keys...)
	}
	return slices.Compact(inOrder(keys))
}

func inOrder[A any](keys []*slicedKey[A]) []*slicedKey[A] {
	sorted := make([]*slicedKey[A], len(keys))
	for i, r := range keysort.Order(nil, len(keys), func(i int) string { return keys[i].key }) {
		sorted[i] = keys[r.At]
	}
	return sorted
}

// takes reports whether a firing of the kind is the window's last.
func (w *slicedTask[E, A]) takes(kind uint8) bool {
	return kind == cleanKind || w.lateness == 0 || w.finalOnly
}

// fill finds the head of d. It ends the drain, and says so, when there is none.
func (w *slicedTask[E, A]) fill(ctx context.Context, d *sliceDrain[A]) (ended bool, err error) {
	for d.on && d.head == nil {
		if d.i == len(d.keys) {
			if d.more {
				if err := w.readChunk(ctx, d); err != nil {
					return false, err
				}
				continue
			}
			w.end(d)
			return true, nil
		}
		k := d.keys[d.i]
		d.i++
		if k.holds(d.least, d.below, noSlice) {
			d.head = k
			continue
		}
		if w.takes(d.kind) && !k.holds(math.MinInt64, d.goes, noSlice) { // there may be slices of records that failed
			w.letGo(k, d.goes)
			w.trim(k, d.goes)
		}
		if d.members {
			k.member = false
		}
	}
	return false, nil
}

// readChunk finds the next keys in the store and brings them into memory: those that d is to go over, and
// others as long as there is room.
func (w *slicedTask[E, A]) readChunk(ctx context.Context, d *sliceDrain[A]) error {
	type stored struct {
		escaped string
		slices  int
		wanted  bool
	}
	var found []stored
	d.keys, d.i, d.more = d.keys[:0], 0, false
	chunk := 0 // values of keys that are done with
	for name, err := range w.values.Names(ctx, d.next, nil) {
		if err != nil {
			return err
		}
		escaped, start, err := parseSliceName(name)
		if err != nil {
			return err
		}
		n := len(found)
		if n == 0 || found[n-1].escaped != escaped {
			if n > 0 {
				chunk += found[n-1].slices
			}
			if chunk >= coldChunk {
				d.more = true
				break
			}
			found = append(found, stored{escaped: escaped})
			n++
		}
		f := &found[n-1]
		number := w.cut.number(start)
		f.slices++
		f.wanted = f.wanted || number >= d.least && number < d.below
	}
	for _, f := range found {
		d.next = behindKey(d.next[:0], f.escaped)
		if !f.wanted && w.values.Len()+f.slices > w.limits.CachedEntries {
			d.everything = false
			continue
		}
		k, err := w.load(ctx, unescaped(f.escaped))
		if err != nil {
			return err
		}
		if k != nil {
			d.keys = append(d.keys, k)
		}
	}
	return nil
}

// settle closes the firing of d's head.
func (w *slicedTask[E, A]) settle(d *sliceDrain[A]) {
	k := d.head
	d.head = nil
	if w.takes(d.kind) {
		w.trim(k, d.goes)
	}
	if d.members {
		d.keys[d.kept] = k
		d.kept++
	}
}

// letGo deletes the slices of a key that are of no window any more. They stay in memory until that
// cannot be undone.
func (w *slicedTask[E, A]) letGo(k *slicedKey[A], goes int64) {
	for _, l := range k.leaves[:k.find(goes)] {
		w.values.Delete(l.cell)
	}
}

// trim forgets slices of a key that were deleted.
func (w *slicedTask[E, A]) trim(k *slicedKey[A], goes int64) {
	if k.trim(goes); len(k.leaves) == 0 && w.keys[k.key] == k {
		delete(w.keys, k.key)
	}
}

// end closes a drain that has gone over all keys.
func (w *slicedTask[E, A]) end(d *sliceDrain[A]) {
	d.on = false
	if d.members {
		clear(d.keys[d.kept:])
		w.members = d.keys[:d.kept]
	}
	if d.kind == fireKind {
		w.fired = max(w.fired, d.time)
	}
	if d.everything {
		w.cold = false
		for _, s := range w.open {
			s.cold = false
		}
	}
	if w.takes(d.kind) {
		w.remove(d.end)
	}
}
