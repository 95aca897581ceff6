package stateful

// Looked returns at how many keys scans of tx looked to find what was written in it.
func Looked(tx *Tx) int { return tx.sorted.looked }

// LookedInTable is Looked for ranges over tb.
func LookedInTable[T any](tb *Table[T]) int { return tb.sorted.looked }
