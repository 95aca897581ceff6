package stateful

import (
	"context"
	"iter"
)

// Domain says what a commit survives.
type Domain int

// The domains, from weakest to strongest.
const (
	// DomainProcess: a commit is gone when the process ends.
	DomainProcess Domain = iota
	// DomainMachine: a commit survives the process, not the loss of the disk.
	DomainMachine
	// DomainServer: a commit survives the loss of this machine, as long as the
	// server that holds it lives.
	DomainServer
)

func (d Domain) String() string {
	switch d {
	case DomainProcess:
		return "process"
	case DomainMachine:
		return "machine"
	case DomainServer:
		return "server"
	}
	return "unknown"
}

// Backend keeps the state of tasks. It may be used by several goroutines.
type Backend interface {
	// Open takes ownership of a task: it first raises the task's epoch, which
	// fences every store opened before, then reads and returns the head, which
	// tells how far the task came. A task that was never opened has Seq 0.
	Open(ctx context.Context, task TaskID) (Store, Head, error)

	// Domain says what a commit survives.
	Domain() Domain

	// Close closes every store that is still open and releases the backend.
	Close() error
}

// CommitLimiter is a [Backend] that works best with commits of another size than
// [Limits] has by default.
type CommitLimiter interface {
	// CommitRows is the default of Limits.CommitRows with this backend.
	CommitRows() int
}

// KeyLimiter is a [Backend] that cannot keep keys of any length.
type KeyLimiter interface {
	// KeyBytes is the most that Limits.KeyBytes may be with this backend, and its default where
	// that is less than the usual one.
	KeyBytes() int
}

// Runner is implemented by backends of [DomainProcess] whose state can begin anew while the process goes on. Of
// others it is taken to begin anew with the process.
type Runner interface {
	// Run returns what no other life of such state is called.
	Run() string
}

// Head is what [Backend.Open] found.
type Head struct {
	Epoch uint64 // of the store just opened; 1 for the first owner
	Seq   uint64 // of the last commit, 0 when there was none
	Token uint64 // of the last commit
}

// Store holds the state of one task: a map from string to bytes, ordered by
// byte value of the keys. Only its owner may use it; a Store must not be shared
// between goroutines, but the Pendings it returns may be waited on by others.
type Store interface {
	// Get returns the values of keys in order, nil for a missing one and a non-nil
	// slice of length 0 for an empty one, in one round trip. It sees every commit
	// submitted before, durable or not. The caller owns the returned memory.
	Get(ctx context.Context, keys ...string) ([][]byte, error)

	// Scan yields the entries in [from, to) in byte order; an empty to means "to
	// the end". It sees every commit submitted before it began; nothing may be
	// submitted while it runs. An entry's value is only valid until the next one.
	// After an error it ends.
	Scan(ctx context.Context, from, to string) iter.Seq2[Entry, error]

	// Submit applies c whole or not at all, after all commits submitted before
	// it. When one fails, so do all later ones. Its Pending reports [ErrFenced]
	// when a newer owner exists, and [ErrCommitUnknown] when the answer was lost: c
	// may or may not have taken effect, and the task must be opened again.
	// c.Seq must be one more than that of the commit before. The store may keep
	// c's keys but not its values or slices once the Pending is done.
	Submit(ctx context.Context, c Commit) Pending

	// Close releases the store without waiting for what is pending. Calls after
	// Close return [ErrClosed]; a second Close returns nil.
	Close() error
}

// Entry is a key and its value.
type Entry struct {
	Key   string
	Value []byte
}

// Commit is all that one transaction writes.
type Commit struct {
	// Seq is this commit's number, one more than that of the commit before it.
	Seq uint64
	// Token is a digest of the commit's content. After an unknown outcome the
	// commit is known to have been applied only if both the stored sequence and
	// the stored token are its own (T4).
	Token uint64
	// Writes are the changes, at most one for a key, in no particular order.
	Writes []Write
	// Joined are writers on the same database that take part in this commit. It is
	// empty unless the store is a [Joiner] that accepted them (K8).
	Joined []Joined
}

// Write sets Key to Value, or deletes it when Value is nil. An empty value is
// a non-nil slice of length 0.
type Write struct {
	Key   string
	Value []byte
}

// Pending is a commit on its way. It may be waited on by several goroutines and
// more than once; every call returns the same.
type Pending interface {
	// Wait returns when the commit is durable in the backend's domain, or failed,
	// or ctx is done; only then it returns ctx's error, and the commit goes on.
	Wait(ctx context.Context) error
}

// Joiner is a Store whose commits can carry the writes of others on the same
// database.
type Joiner interface {
	// CanJoin reports whether db, as handed over by a sink, is the database this
	// store writes to.
	CanJoin(db any) bool
}

// Joined is the part of a sink in a task's commit. The store calls Join, then
// Applied, then Durable, each once, in this order. When Join fails, no other
// is called and the commit fails.
type Joined interface {
	// Join adds its writes, raw keys of the database, to the commit. It may lock:
	// what it gives out (offsets) is then given in the order of applying.
	Join(w BatchWriter) error
	// Applied says whether the batch was applied; what Join locked is unlocked.
	Applied(err error)
	// Durable says whether the batch is durable.
	Durable(err error)
}

// BatchWriter takes raw writes into a database's atomic batch. It copies what
// it is given.
type BatchWriter interface {
	Set(key, value []byte) error
	Delete(key []byte) error
}
