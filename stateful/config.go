package stateful

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Config configures a [Processor]. App and Backend are required; Outbox is when
// any handler emits.
type Config struct {
	// App is the name under which state, groups and cursors are kept. It matches
	// [a-z0-9-]{1,64} and must not change once deployed.
	App string
	// Source is a [Source] or any Watermill subscriber. It may be nil when records come by
	// [Processor.Process].
	Source  message.Subscriber
	Backend Backend
	Outbox  Outbox

	// Delivery is what the chain of source, backend and sinks must give. The default
	// takes what it gives, see [Processor.Guarantee].
	Delivery Delivery
	// Domain is what source, state and outputs must survive together (S1): AddTo refuses a handler when its backend, its sinks, or a source that
	// says what it survives, keep less. A message is acknowledged, and outputs leave, once the commit is durable in the backend's
	// own domain. Default: nothing is asked for.
	Domain Domain
	// DeadLetterTo is the topic of records that failed for good. Without it they
	// pause their partition.
	DeadLetterTo string
	// KeyFrom is the metadata key in which messages of a plain subscriber carry their
	// key. Defaults to "pondage_key".
	KeyFrom string
	// Incarnation is raised when history is rewritten on purpose, so that sinks
	// take outputs again. State of a higher one is refused. Defaults to 1.
	Incarnation uint64

	// TickEvery is how often tasks are asked for due work when no message
	// arrives. Defaults to 1 second; negative disables ticking.
	TickEvery time.Duration
	// Pace is that of handlers which set none themselves. Default: all off.
	Pace Pace
	// DrainFor is how long Run waits for what is in flight once its context ended.
	// Defaults to 30 seconds.
	DrainFor time.Duration
	// LeaseFor is how long the lease of a handler whose source has no partitions holds without being
	// renewed, when the Backend is a [Leaser]: when a process dies another takes over after at most this and
	// RenewEvery. Defaults to 10 seconds.
	LeaseFor time.Duration
	// RenewEvery is how often such a lease is renewed, and asked for when another process has it. At
	// most half of LeaseFor. Defaults to a third of it.
	RenewEvery time.Duration
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Logger gets what nobody else is told. Defaults to slog.Default().
	Logger *slog.Logger
	Limits Limits
}

// Limits bound what one task may use. Zero fields have the defaults given.
type Limits struct {
	RecordBytes   int           // 1 MiB: a larger record is dead-lettered
	KeyBytes      int           // 4 KiB, or less where the [KeyLimiter] says so: so is a record with a longer key
	WindowsPerKey int           // 10,000 open windows of a key: so is a record that would open one more
	Timers        int           // 10,000,000 timers of a task: so is a record, or a firing, that would set one more
	Future        time.Duration // 24 h: so is a record whose event time is further beyond its own
	FutureClamp   bool          // instead, the bound is the event's time
	FutureByClock bool          // the bound is over the processor's clock, not the record's own time
	CommitRows    int           // 10,000 rows in a commit, or what the [CommitLimiter] says: the batch goes on in the next
	CommitBytes   int           // 4 MiB in a commit: likewise
	OutboxRows    int           // 100,000 rows waiting to be published: the source pauses
	OutboxBytes   int64         // 256 MiB waiting to be published: likewise
	DedupFor      time.Duration // 24 h for which records without position are remembered
	DedupMarks    int           // 1,000,000 of them: the task pauses
	DedupWeaken   bool          // instead of pausing, forget the oldest
	SweepEntries  int           // 100 expired entries of state looked at with each commit, oldest first
	SweepEvery    time.Duration // 1 min after which that is done without anything else to commit
	CachedEntries int           // 1,000,000 decoded entries of a task: then all are dropped and read again when needed
}

// Delivery is a demand on the [Guarantee].
type Delivery int

// The demands.
const (
	// DeliverWhatItGives accepts whatever the chain gives.
	DeliverWhatItGives Delivery = iota
	// DeliverExactlyOnce refuses, at AddTo, a chain that cannot keep it.
	DeliverExactlyOnce
)

var (
	appName     = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	handlerName = regexp.MustCompile(`^[a-z0-9._-]{1,128}$`)
)

func (c Config) withDefaults() Config {
	c.KeyFrom = cmp.Or(c.KeyFrom, "pondage_key")
	c.Incarnation = cmp.Or(c.Incarnation, 1)
	c.TickEvery = cmp.Or(c.TickEvery, time.Second)
	c.DrainFor = cmp.Or(c.DrainFor, 30*time.Second)
	c.LeaseFor = cmp.Or(c.LeaseFor, 10*time.Second)
	c.RenewEvery = cmp.Or(c.RenewEvery, c.LeaseFor/3)
	if c.Now == nil {
		c.Now = wallClock
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	l := &c.Limits
	l.RecordBytes = cmp.Or(l.RecordBytes, 1<<20)
	keyBytes := 4 << 10
	if b, ok := c.Backend.(KeyLimiter); ok {
		keyBytes = min(keyBytes, b.KeyBytes())
	}
	l.KeyBytes = cmp.Or(l.KeyBytes, keyBytes)
	l.WindowsPerKey = cmp.Or(l.WindowsPerKey, 10_000)
	l.Timers = cmp.Or(l.Timers, 10_000_000)
	l.Future = cmp.Or(l.Future, 24*time.Hour)
	rows := 10_000
	if b, ok := c.Backend.(CommitLimiter); ok {
		rows = b.CommitRows()
	}
	l.CommitRows = cmp.Or(l.CommitRows, rows)
	l.CommitBytes = cmp.Or(l.CommitBytes, 4<<20)
	l.OutboxRows = cmp.Or(l.OutboxRows, 100_000)
	l.OutboxBytes = cmp.Or(l.OutboxBytes, 256<<20)
	l.DedupFor = cmp.Or(l.DedupFor, defaultDedupFor)
	l.DedupMarks = cmp.Or(l.DedupMarks, 1_000_000)
	l.SweepEntries = cmp.Or(l.SweepEntries, 100)
	l.SweepEvery = cmp.Or(l.SweepEvery, time.Minute)
	l.CachedEntries = cmp.Or(l.CachedEntries, 1_000_000)
	return c
}

func (c Config) validate() error {
	var errs []error
	if !appName.MatchString(c.App) {
		errs = append(errs, fmt.Errorf("App is %q; it must match %s", c.App, appName))
	}
	if c.Backend == nil {
		errs = append(errs, errors.New("Backend is required: memory.New() is the simplest"))
	}
	if b, ok := c.Backend.(KeyLimiter); ok && c.Limits.KeyBytes > b.KeyBytes() {
		errs = append(errs, fmt.Errorf("Limits.KeyBytes is %d; the backend cannot keep longer keys than %d", c.Limits.KeyBytes, b.KeyBytes()))
	}
	if c.Domain.String() == "unknown" {
		errs = append(errs, fmt.Errorf("Domain is %d: it must be DomainProcess, DomainMachine or DomainServer", c.Domain))
	}
	if o, ok := c.Outbox.(interface{ DeadLetters() bool }); ok && o.DeadLetters() && c.DeadLetterTo == "" {
		errs = append(errs, errors.New("DeadLetterTo is required by the Outbox, which dead-letters what its sinks refuse: name the topic"))
	}
	if c.DeadLetterTo != "" {
		if c.Outbox == nil {
			errs = append(errs, errors.New("DeadLetterTo needs an Outbox to publish to it"))
		} else if err := c.Outbox.Accepts(c.DeadLetterTo); err != nil {
			errs = append(errs, fmt.Errorf("DeadLetterTo %q: %w", c.DeadLetterTo, err))
		}
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"RecordBytes", int64(c.Limits.RecordBytes)},
		{"KeyBytes", int64(c.Limits.KeyBytes)},
		{"WindowsPerKey", int64(c.Limits.WindowsPerKey)},
		{"Timers", int64(c.Limits.Timers)},
		{"Future", int64(c.Limits.Future)},
		{"CommitRows", int64(c.Limits.CommitRows)},
		{"CommitBytes", int64(c.Limits.CommitBytes)},
		{"OutboxRows", int64(c.Limits.OutboxRows)},
		{"OutboxBytes", c.Limits.OutboxBytes},
		{"DedupFor", int64(c.Limits.DedupFor)},
		{"DedupMarks", int64(c.Limits.DedupMarks)},
		{"SweepEntries", int64(c.Limits.SweepEntries)},
		{"SweepEvery", int64(c.Limits.SweepEvery)},
		{"CachedEntries", int64(c.Limits.CachedEntries)},
		{"DrainFor", int64(c.DrainFor)},
		{"LeaseFor", int64(c.LeaseFor)},
		{"RenewEvery", int64(c.RenewEvery)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative: leave it 0 for the default", n.name))
		}
	}
	if c.RenewEvery > c.LeaseFor/2 {
		errs = append(errs, fmt.Errorf("RenewEvery is %v and LeaseFor %v: renew at least twice within it", c.RenewEvery, c.LeaseFor))
	}
	return errors.Join(errs...)
}
