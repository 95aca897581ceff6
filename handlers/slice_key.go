package handlers

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/pondage/pondage/stateful"
)

// slicedKey is what is in memory of the slices of one key.
//
// The value of a window is merged from blocks: of the slices 2^l*n up to 2^l*(n+1) for a level l, the largest that fit
// into the window, a logarithm of its slices. Which values are merged with which first follows from the numbers of
// the slices alone and not from what is remembered: a sum of floats is the same to its last bit after a restart.
type slicedKey[A any] struct {
	key    string
	last   leaf[A]      // of leaves: events nearly always go there
	leaves []leaf[A]    // by number
	blocks [][]block[A] // of the levels from rememberFrom on, each by number; none has a slice that may still change unnoticed

	whole    bool // all its slices are in memory
	numbered bool // it may have pane numbers
	member   bool // it is in slicedTask.members, or joining them
}

// leaf is the value of one slice. After a failed record it may have none.
type leaf[A any] struct {
	n    int64
	cell *stateful.Cell[A]
}

// block is the merged value of the slices n<<level up to (n+1)<<level.
type block[A any] struct {
	n     int64
	value A
}

// rememberFrom is the level of the smallest blocks that are remembered. Those below are merged again each
// time: fewer than 8 values, which would double what a key takes.
const rememberFrom = 3

// fewLeaves are moved rather than given other memory when they have come to the end of theirs.
const fewLeaves = 16

// noSlice is no slice's number.
const noSlice = math.MinInt64

// find returns where the first leaf is whose number is n or greater.
func (k *slicedKey[A]) find(n int64) int {
	switch last := len(k.leaves) - 1; {
	case last < 0 || n <= k.leaves[0].n:
		return 0
	case n > k.leaves[last].n:
		return last + 1
	}
	if i := n - k.leaves[0].n; i < int64(len(k.leaves)) && k.leaves[i].n == n { // none is missing
		return int(i)
	}
	i, _ := slices.BinarySearchFunc(k.leaves, n, func(l leaf[A], n int64) int { return cmp.Compare(l.n, n) })
	return i
}

// cell returns that of a slice, nil when it is not in memory. k may be nil.
func (k *slicedKey[A]) cell(n int64) *stateful.Cell[A] {
	switch {
	case k == nil:
		return nil
	case k.last.n == n:
		return k.last.cell
	}
	if i := k.find(n); i < len(k.leaves) && k.leaves[i].n == n {
		return k.leaves[i].cell
	}
	return nil
}

// insert adds a slice that may be there already, and reports whether it was not.
func (k *slicedKey[A]) insert(n int64, c *stateful.Cell[A]) bool {
	i := k.find(n)
	if i < len(k.leaves) && k.leaves[i].n == n {
		return false
	}
	k.leaves = slices.Insert(k.leaves, i, leaf[A]{n, c})
	k.last = k.leaves[len(k.leaves)-1]
	return true
}

// holds reports whether a slice in [from, to), other than but, has a value.
func (k *slicedKey[A]) holds(from, to, but int64) bool {
	for i := k.find(from); i < len(k.leaves) && k.leaves[i].n < to; i++ {
		if _, has := k.leaves[i].cell.Value(); has && k.leaves[i].n != but {
			return true
		}
	}
	return false
}

// trim lets go of the slices below n.
func (k *slicedKey[A]) trim(n int64) {
	switch rest := k.leaves[k.find(n):]; {
	case len(rest) == 0:
		k.last, k.leaves, k.blocks = leaf[A]{}, nil, nil
		return
	case len(rest) > fewLeaves:
		k.leaves = rest
	default: // so that the memory before them is used again
		k.leaves = k.leaves[:copy(k.leaves, rest)]
	}
	for l := range k.blocks {
		i := 0
		for i < len(k.blocks[l]) && k.blocks[l][i].n<<(rememberFrom+l) < n {
			i++
		}
		clear(k.blocks[l][:i])
		k.blocks[l] = k.blocks[l][i:]
	}
}

// change forgets the blocks of a slice, whose value is another from now on.
func (k *slicedKey[A]) change(n int64) {
	for l := range k.blocks {
		if i, found := k.at(l, n>>(rememberFrom+l)); found {
			k.blocks[l] = slices.Delete(k.blocks[l], i, i+1)
		}
	}
}

// at returns where a block is, or would be, among those of level rememberFrom+l.
func (k *slicedKey[A]) at(l int, n int64) (int, bool) {
	of := k.blocks[l]
	if len(of) == 0 || n > of[len(of)-1].n {
		return len(of), false
	}
	if i := n - of[0].n; i >= 0 && i < int64(len(of)) && of[i].n == n { // none is missing
		return int(i), true
	}
	return slices.BinarySearchFunc(of, n, func(b block[A], n int64) int { return cmp.Compare(b.n, n) })
}

func (k *slicedKey[A]) remember(l int, n int64, v A) {
	for len(k.blocks) <= l {
		k.blocks = append(k.blocks, nil)
	}
	i, _ := k.at(l, n)
	k.blocks[l] = slices.Insert(k.blocks[l], i, block[A]{n, v})
}

// merger merges the slices of a key.
type merger[A any] struct {
	*slicedKey[A]
	merge func(a, b A) (A, error)
	// unsettled is a slice whose value may be undone, so that no block of it is remembered; noSlice when
	// there is none.
	unsettled int64
}

// over returns what the slices in [from, to) make together, and whether any of them has a value.
func (m *merger[A]) over(from, to int64) (v A, has bool, err error) {
	for i := m.find(from); i < len(m.leaves) && m.leaves[i].n < to && err == nil; {
		n := m.leaves[i].n
		level := min(bits.Len64(uint64(n^(from-1))), bits.Len64(uint64(n^to))) - 1 // neither neighbour is in it
		var more A
		var some bool
		if more, some, i, err = m.block(i, level); err == nil {
			v, has, err = m.join(v, has, more, some)
		}
	}
	return v, has, err
}

// block returns the value of the block of a level that leaf i is the first of, and the leaf behind it.
func (m *merger[A]) block(i, level int) (v A, has bool, next int, err error) {
	n := m.leaves[i].n
	end := (n>>level + 1) << level
	if next = i + 1; next == len(m.leaves) || m.leaves[next].n >= end {
		v, has = m.leaves[i].cell.Value()
		return v, has, next, nil
	}
	l := level - rememberFrom
	if l >= 0 && l < len(m.blocks) {
		if at, found := m.at(l, n>>level); found {
			return m.blocks[l][at].value, true, m.find(end), nil
		}
	}
	next = i
	if n < end-1<<(level-1) {
		if v, has, next, err = m.block(i, level-1); err != nil {
			return v, has, next, err
		}
	}
	if next < len(m.leaves) && m.leaves[next].n < end {
		var more A
		var some bool
		if more, some, next, err = m.block(next, level-1); err == nil {
			v, has, err = m.join(v, has, more, some)
		}
	}
	if err == nil && has && l >= 0 && m.unsettled>>level != n>>level {
		m.remember(l, n>>level, v)
	}
	return v, has, next, err
}

func (m *merger[A]) join(a A, hasA bool, b A, hasB bool) (A, bool, error) {
	switch {
	case !hasB:
		return a, hasA, nil
	case !hasA:
		return b, true, nil
	}
	v, err := m.merge(a, b)
	return v, true, err
}
