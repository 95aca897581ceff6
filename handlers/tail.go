package handlers

// tail is a list that is appended to like a slice, and is a value all the same: those who append to one
// tail each get their own, and none changes another's. As long as each is appended to once, which is what
// folding does unless it is undone, all share one array.
type tail[T any] struct {
	mem *tailMem[T]
	n   int
}

type tailMem[T any] struct{ items []T }

// with returns t and one more.
func (t tail[T]) with(v T) tail[T] {
	if t.mem == nil || len(t.mem.items) != t.n { // somebody else went on from here
		t.mem = &tailMem[T]{append(make([]T, 0, max(4, 2*t.n)), t.items()...)}
	}
	t.mem.items = append(t.mem.items, v)
	t.n++
	return t
}

// items returns what is in t. It must not be changed.
func (t tail[T]) items() []T {
	if t.mem == nil {
		return nil
	}
	return t.mem.items[:t.n:t.n]
}
