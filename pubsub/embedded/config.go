package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/internal/pebbledb"
)

// MaxPartitions is the largest number of partitions of a topic.
const MaxPartitions = 4096

// Config configures a [Log]. Dir or DB is required.
type Config struct {
	// Dir is the folder of the log's own database, made when it is missing.
	Dir string
	// DB is a database shared with the state. It is not closed by the log, and must be
	// closed after it. Dir, FS and NoSync must then be left empty.
	DB *pebbledb.DB
	// FS is where Dir is. Default: the operating system's.
	FS vfs.FS
	// NoSync: an append does not wait for the disk, and may be lost with the process.
	NoSync bool

	// Partitions is the number of partitions of topics made without a number.
	// Default 4.
	Partitions int

	// RetentionBytes is how much is kept of each partition; 0 keeps all. Nothing is
	// deleted that a known group has not committed.
	RetentionBytes int64
	// RetentionAge is for how long after its append a record is kept; 0 is for ever.
	// Nothing is deleted that a known group has not committed.
	RetentionAge time.Duration

	// MaxRecordBytes is the size of the largest record: key, value and headers. Default 1 MiB.
	MaxRecordBytes int
	// MaxKeyBytes is the size of the largest key. Default 4 KiB.
	MaxKeyBytes int
	// MaxPendingBytes is how much may be appended and not yet durable; publishers
	// wait for room. One append larger than this waits until it is alone. Default 64 MiB.
	MaxPendingBytes int64

	// BatchRecords and BatchBytes limit an envelope. Defaults 1,024 and 1 MiB. They
	// double up to MaxBatchRecords and MaxBatchBytes, 65,536 and 8 MiB, while
	// handling takes more than twice as long as reading, and halve back otherwise.
	BatchRecords    int
	BatchBytes      int
	MaxBatchRecords int
	MaxBatchBytes   int
	// MaxInFlight is how many envelopes of a partition may be in flight. Default 4.
	MaxInFlight int

	// RetryBase and RetryMax are the first and longest wait before a nacked message
	// is delivered again. Defaults 10 ms and 1 s.
	RetryBase time.Duration
	RetryMax  time.Duration

	// KeyFrom returns the key of a message given to [Log.Publisher], nil for none.
	// Default: the metadata [KeyMetadata].
	KeyFrom func(*message.Message) []byte

	// Logger is told why a subscription ended. Default: none.
	Logger watermill.LoggerAdapter
	// Now tells the time of appends. Default time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.Partitions = cmp.Or(c.Partitions, 4)
	c.MaxRecordBytes = cmp.Or(c.MaxRecordBytes, 1<<20)
	c.MaxKeyBytes = cmp.Or(c.MaxKeyBytes, 4<<10)
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, 64<<20)
	c.BatchRecords = cmp.Or(c.BatchRecords, 1024)
	c.BatchBytes = cmp.Or(c.BatchBytes, 1<<20)
	c.MaxBatchRecords = cmp.Or(c.MaxBatchRecords, max(64<<10, c.BatchRecords))
	c.MaxBatchBytes = cmp.Or(c.MaxBatchBytes, max(8<<20, c.BatchBytes))
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 4)
	c.RetryBase = cmp.Or(c.RetryBase, 10*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, max(time.Second, c.RetryBase))
	if c.KeyFrom == nil {
		c.KeyFrom = keyFromMetadata
	}
	if c.Logger == nil {
		c.Logger = watermill.NopLogger{}
	}
	if c.Now == nil {
		c.Now = wallClock
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("embedded: "+format, args...))
		}
	}
	fault(c.DB == nil && c.Dir == "", "Dir or DB is required")
	fault(c.DB != nil && (c.Dir != "" || c.FS != nil || c.NoSync),
		"Dir, FS and NoSync belong to a database of the log's own: leave them empty beside DB")
	fault(c.Partitions < 1 || c.Partitions > MaxPartitions, "Partitions is %d, want 1 to %d", c.Partitions, MaxPartitions)
	fault(c.RetentionBytes < 0, "RetentionBytes is %d, want 0 (keep all) or more", c.RetentionBytes)
	fault(c.RetentionAge < 0, "RetentionAge is %s, want 0 (for ever) or more", c.RetentionAge)
	fault(c.MaxRecordBytes < 1 || c.MaxRecordBytes > 1<<30, "MaxRecordBytes is %d, want 1 to 1 GiB", c.MaxRecordBytes)
	fault(c.MaxKeyBytes < 1, "MaxKeyBytes is %d, want 1 or more", c.MaxKeyBytes)
	fault(c.MaxPendingBytes < 1, "MaxPendingBytes is %d, want 1 or more", c.MaxPendingBytes)
	fault(c.BatchRecords < 1 || c.MaxBatchRecords < c.BatchRecords,
		"BatchRecords is %d and MaxBatchRecords %d, want 1 or more and no less", c.BatchRecords, c.MaxBatchRecords)
	fault(c.BatchBytes < 1 || c.MaxBatchBytes < c.BatchBytes,
		"BatchBytes is %d and MaxBatchBytes %d, want 1 or more and no less", c.BatchBytes, c.MaxBatchBytes)
	fault(c.MaxInFlight < 1, "MaxInFlight is %d, want 1 or more", c.MaxInFlight)
	fault(c.RetryBase < 0 || c.RetryMax < c.RetryBase, "RetryBase is %s and RetryMax %s, want 0 or more and no less", c.RetryBase, c.RetryMax)
	return errors.Join(errs...)
}
