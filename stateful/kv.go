package stateful

import (
	"context"
	"errors"
	"iter"
	"time"
)

// KV is the key-value API that a backend offers beside the state of tasks: for what several handlers,
// processes or services share, as a counter, a lock, or marks of what was seen. It takes no part in
// transactions: what is written is there at once, and once more when the record is handled again. State
// that must be exact belongs into a [Tx].
//
// A KV may be used by several goroutines. Each operation on one key is atomic among all that use the same
// backend: processes too when it is a server (Redis, Postgres), this process when it is memory or Pebble,
// which no other can open. A call that returned nil has taken effect, and lasts as long as [Backend.Domain] says.
//
// A key has 1 to 2048 bytes with its prefix, a value up to 8 MiB; others are refused with an error. The caller owns what
// it is given and what it gave.
type KV interface {
	// Get returns the values of keys in order, in one round trip: nil for a missing one, a non-nil slice
	// of length 0 for an empty one.
	Get(ctx context.Context, keys ...string) ([][]byte, error)
	// Put writes entries in one round trip. Each is atomic by itself; after an error some may have been written.
	Put(ctx context.Context, entries ...KVEntry) error
	// Delete removes keys and returns how many of them were there. After an error that it had to try again it
	// may be fewer than it removed.
	Delete(ctx context.Context, keys ...string) (int, error)
	// ListKeys yields the keys that begin with prefix, an empty one being all of this KV's. Their order is that of
	// bytes on memory, Pebble and Postgres, and any on Redis. A key that is there all the time is yielded once, one that
	// comes or goes meanwhile may or may not be. After an error it ends.
	ListKeys(ctx context.Context, prefix string) iter.Seq2[string, error]
	// TTL returns how long key has left, 0 when it does not expire, and whether it is there.
	TTL(ctx context.Context, key string) (left time.Duration, found bool, err error)
	// GetAndDelete removes key and returns its value, nil when it was not there.
	GetAndDelete(ctx context.Context, key string) ([]byte, error)
	// SetIfNotExists writes e when its key is not there, and reports whether it did.
	SetIfNotExists(ctx context.Context, e KVEntry) (bool, error)
	// CompareAndSwap writes e when the value of its key is old, and reports whether it did. With a nil old
	// the key must be missing; with a nil e.Value it is removed instead.
	CompareAndSwap(ctx context.Context, old []byte, e KVEntry) (bool, error)
	// Increment adds by to the counter in key and returns what it then is. A missing counter is 0 and gets ttl, as
	// in [KVEntry]; that of one that is there stays. A counter is stored as decimal text. A value that is none, or would
	// leave 64 bits, is an error that wraps [ErrNotCounter] and stays as it is.
	Increment(ctx context.Context, key string, by int64, ttl time.Duration) (int64, error)

	// Ping returns nil when the backend answers.
	Ping(ctx context.Context) error
	// MemoryUsage returns how many bytes the backend's values take, as far as it knows: in memory, about those of this
	// KV; on disk, about those of its files; of a server, those of the server, or of the table.
	MemoryUsage(ctx context.Context) (int64, error)
	// Stats returns what this KV has done since it was made.
	Stats() KVStats
}

// KVEntry is a key, its value and how long it is kept.
type KVEntry struct {
	Key   string
	Value []byte // nil is written as an empty one
	// TTL is how long the entry is kept, in whole milliseconds, at least one. 0 is [KVConfig.TTL], and
	// [NoTTL] for ever.
	TTL time.Duration
}

// NoTTL as a time to live says that there is none.
const NoTTL time.Duration = -1

// KVConfig configures a [KV]. The zero value works.
type KVConfig struct {
	// Prefix comes before every key, so that applications do not meet. Default "pondage:".
	Prefix string
	// TTL is that of entries that say none. 0 is for ever.
	TTL time.Duration
	// Now tells the time by which entries expire where no server does, on memory and Pebble. Default: the
	// system's clock.
	Now func() time.Time
}

// KVStats counts what a [KV] did. A call with several keys counts once as an operation, and each key as a hit
// or a miss.
type KVStats struct {
	OperationCount uint64
	GetCount       uint64 // calls that only read values
	PutCount       uint64 // calls that write
	DeleteCount    uint64 // calls that remove
	Hits, Misses   uint64 // keys that were there when they were read, and were not
	BytesRead      uint64 // of values
	BytesWritten   uint64 // of values
	RetryCount     uint64
	ErrorCount     uint64 // calls that failed in the end
	// LatencyP50 and LatencyP99 are quantiles of the time of a call that was answered, within 1 %.
	LatencyP50, LatencyP99 time.Duration
}

// ErrNotCounter is what [KV.Increment] returns an error of for a value that is no number of 64 bits.
var ErrNotCounter = errors.New("stateful: the value is not a counter of 64 bits")

// ErrKVUnknown is what a call of a [KV] returns an error of when its answer was lost and it cannot be repeated
// safely: it may or may not have taken effect.
var ErrKVUnknown = errors.New("stateful: whether the operation took effect is not known")
