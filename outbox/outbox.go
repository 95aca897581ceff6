package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pondage/pondage/stateful"
)

// Config configures an [Outbox]. Sinks is required.
type Config struct {
	Sinks []Sink

	// BatchRows and BatchBytes bound what one Commit of a sink is given. One row that
	// is larger goes alone. Defaults 1,000 rows and 1 MiB.
	BatchRows  int
	BatchBytes int
	// RetryBase and RetryMax are the first and the longest wait after a Commit that
	// failed. Defaults 100 ms and 5 s.
	RetryBase time.Duration
	RetryMax  time.Duration
	// OnReject is what becomes of a row that a sink refuses for ever, by an error that is permanent. Default [Stop].
	//
	// With [DeadLetter] the row goes, in its place of the sequence, to stateful.Config.DeadLetterTo: the sink
	// goes on behind it only once the sink of that topic has it. A row is there or here, exactly once where both sinks keep
	// a cursor. What was refused, by whom and why is in its headers and in the log. Rows that a [Preparer] reserved cannot be refused.
	OnReject Reject
	// KeepFor is how long published rows stay in the state for a sink that keeps a cursor and may yet lose
	// the last of them: opened again, the task publishes what is missing. Default 1 minute, negative for not at all.
	// KeepRows bounds how many are kept, for each task and sink. Default 10,000. Together with those that wait they
	// are no more than stateful.Limits.OutboxRows and OutboxBytes: those that wait come first.
	KeepFor  time.Duration
	KeepRows int
	// Logger gets what no task is told. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.BatchRows = cmp.Or(c.BatchRows, 1000)
	c.BatchBytes = cmp.Or(c.BatchBytes, 1<<20)
	c.RetryBase = cmp.Or(c.RetryBase, 100*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, max(5*time.Second, c.RetryBase))
	c.KeepFor = cmp.Or(c.KeepFor, time.Minute)
	c.KeepRows = cmp.Or(c.KeepRows, 10_000)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Outbox is a [stateful.Outbox]. It may be used by several goroutines.
type Outbox struct {
	c       Config
	sinks   []*target
	byTopic map[string]*target
	rest    *target // nil: every topic is named
	faults  error

	mu    sync.Mutex
	tasks map[*task]struct{} // open
	close sync.Once
}

// target is a sink and what is asked of it often.
type target struct {
	Sink
	traits  stateful.SinkTraits
	prep    Preparer // nil: it need not reserve
	join    Joiner   // nil: it cannot
	discard bool
}

var _ stateful.Outbox = (*Outbox)(nil)

// New returns an outbox over sinks, with defaults. What is wrong with them is
// told by [Outbox.Validate] and refuses every output.
func New(sinks ...Sink) *Outbox { return NewWith(Config{Sinks: sinks}) }

// NewWith is [New] with all settings.
func NewWith(c Config) *Outbox {
	o := &Outbox{c: c.withDefaults(), byTopic: make(map[string]*target), tasks: make(map[*task]struct{})}
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("outbox: "+format, args...))
		}
	}
	fault(len(c.Sinks) == 0, "it has no sink: pass one to New")
	fault(c.BatchRows < 0 || c.BatchBytes < 0, "BatchRows is %d and BatchBytes %d: leave them 0 for the defaults", c.BatchRows, c.BatchBytes)
	fault(c.RetryBase < 0 || o.c.RetryMax < o.c.RetryBase, "RetryBase is %v and RetryMax %v: want 0 or more and no less", c.RetryBase, c.RetryMax)
	fault(c.OnReject < Stop || c.OnReject > DeadLetter, "OnReject is %d: use Stop or DeadLetter", c.OnReject)
	fault(c.KeepRows < 0, "KeepRows is %d: leave it 0 for the default, and set KeepFor to -1 to keep none", c.KeepRows)
	for i, s := range c.Sinks {
		if s == nil {
			fault(true, "sink %d is nil", i+1)
			continue
		}
		errs = append(errs, o.add(s)...)
	}
	o.faults = errors.Join(errs...)
	return o
}

// add makes s one of the sinks and returns what is wrong with it.
func (o *Outbox) add(s Sink) (errs []error) {
	t := &target{Sink: s, traits: s.Traits()}
	t.prep, _ = s.(Preparer)
	t.join, _ = s.(Joiner)
	_, t.discard = s.(discard)
	name := t.traits.Name
	if name == "" {
		errs = append(errs, fmt.Errorf("outbox: sink %d (%T) has no name in its traits", len(o.sinks)+1, s))
	}
	if strings.Contains(name, separator) {
		errs = append(errs, fmt.Errorf("outbox: sink %q has a %q in its name, which tells apart the producers of dead letters: name it otherwise", name, separator))
	}
	for _, other := range o.sinks {
		if other.traits.Name == name {
			errs = append(errs, fmt.Errorf("outbox: two sinks are named %q: cursors are kept by name, so give each its own", name))
		}
		if t.join != nil && other.join != nil && t.join.Database() == other.join.Database() {
			errs = append(errs, fmt.Errorf("outbox: sinks %q and %q write to one database and would share a cursor: use one of them for all topics",
				other.traits.Name, name))
		}
	}
	var topics []string
	if sel, ok := s.(Selective); ok {
		topics = sel.Topics()
	}
	for _, topic := range topics {
		if other := o.byTopic[topic]; other != nil && other != t {
			errs = append(errs, fmt.Errorf("outbox: topic %q is named by sinks %q and %q: leave it to one", topic, other.traits.Name, name))
			continue
		}
		o.byTopic[topic] = t
	}
	if len(topics) == 0 {
		if o.rest != nil {
			errs = append(errs, fmt.Errorf("outbox: sinks %q and %q both take every topic that no other names: name the topics of one", o.rest.traits.Name, name))
		} else {
			o.rest = t
		}
	}
	o.sinks = append(o.sinks, t)
	return errs
}

// Validate returns all faults of the configuration at once.
func (o *Outbox) Validate() error { return o.faults }

// DeadLetters reports whether it needs a dead-letter topic.
func (o *Outbox) DeadLetters() bool { return o.c.OnReject == DeadLetter }

// sinkOf returns where an output goes, nil when nowhere.
func (o *Outbox) sinkOf(topic string) *target {
	if len(o.byTopic) > 0 {
		if t := o.byTopic[topic]; t != nil {
			return t
		}
	}
	return o.rest
}

// Accepts implements [stateful.Outbox].
func (o *Outbox) Accepts(topic string) error {
	if o.faults != nil {
		return o.faults
	}
	if o.sinkOf(topic) == nil {
		return o.errNoSink(topic)
	}
	return nil
}

func (o *Outbox) errNoSink(topic string) error {
	var have []string
	for topic, t := range o.byTopic {
		have = append(have, fmt.Sprintf("%s (%s)", topic, t.traits.Name))
	}
	slices.Sort(have)
	return fmt.Errorf("outbox: no sink takes topic %q: there are sinks for %s; add the topic to one, or a sink without Topics",
		topic, cmp.Or(strings.Join(have, ", "), "none"))
}

// Check implements [stateful.Outbox].
func (o *Outbox) Check(row *stateful.Row) error {
	t := o.sinkOf(row.Topic)
	if t == nil {
		return o.errNoSink(row.Topic)
	}
	if err := t.Check(row); err != nil {
		return fmt.Errorf("sink %q: %w", t.traits.Name, err)
	}
	return nil
}

// SinkTraits implements [stateful.Outbox]. They are zero when no sink takes topic.
func (o *Outbox) SinkTraits(topic string) stateful.SinkTraits {
	if t := o.sinkOf(topic); t != nil {
		return t.traits
	}
	return stateful.SinkTraits{}
}

// Close implements [stateful.Outbox]. It stops the relays of tasks that could not be
// closed. A second Close returns nil.
func (o *Outbox) Close() error {
	var errs []error
	o.close.Do(func() {
		o.mu.Lock()
		open := slices.Collect(maps.Keys(o.tasks))
		o.mu.Unlock()
		for _, t := range open {
			errs = append(errs, t.Close())
		}
		for _, t := range o.sinks {
			if err := t.Close(); err != nil && !errors.Is(err, stateful.ErrClosed) {
				errs = append(errs, fmt.Errorf("outbox: close sink %q: %w", t.traits.Name, err))
			}
		}
	})
	return errors.Join(errs...)
}

// OpenTask implements [stateful.Outbox].
func (o *Outbox) OpenTask(ctx context.Context, ot stateful.OutboxTask) (stateful.TaskOutbox, error) {
	if o.faults != nil {
		return nil, o.faults
	}
	t, err := openTask(ctx, o, ot)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tasks[t] = struct{}{}
	return t, nil
}

func (o *Outbox) forget(t *task) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.tasks, t)
}
