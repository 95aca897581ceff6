package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

var (
	_ stateful.Source          = (*Log)(nil)
	_ stateful.CommitListener  = (*Log)(nil)
	_ stateful.BatchSubscriber = (*Attached)(nil)
	_ stateful.EndTeller       = (*Attached)(nil)
	_ stateful.EndTeller       = (*Log)(nil)
	_ message.Subscriber       = (*Subscriber)(nil)
)

// revokeTimeout bounds how long the owner may take to close its tasks.
const revokeTimeout = 30 * time.Second

// Traits implements stateful.Source. Partitions is the number that all topics have that
// were inputs of [Log.Attach], or before any was, all topics; 0 when they differ.
func (l *Log) Traits() stateful.SourceTraits {
	domain := stateful.DomainMachine
	if !l.db.WriteOptions().Sync {
		domain = stateful.DomainProcess
	}
	return stateful.SourceTraits{
		Position: true, Seek: true, StableID: true, FIFO: true,
		Partitions: l.commonCount(), Partitioner: stateful.Murmur2Partitioner, Domain: domain,
	}
}

func (l *Log) commonCount() int {
	l.attachedMu.Lock()
	defer l.attachedMu.Unlock()
	count := 0
	for _, t := range l.snapshot() {
		if _, ok := l.attached[t.name]; !ok && len(l.attached) > 0 {
			continue
		}
		if count != 0 && count != len(t.parts) {
			return 0
		}
		count = len(t.parts)
	}
	if count == 0 {
		return l.c.Partitions
	}
	return count
}

// Attach implements stateful.Source: it returns an [Attached]. Topics that do not exist are
// created with the default number of partitions; inputs with different numbers are refused.
func (l *Log) Attach(group string, inputs []string, o stateful.Owner) (message.Subscriber, error) {
	if group == "" || len(inputs) == 0 || o == nil {
		return nil, errors.New("embedded: attach: group, inputs and owner are required")
	}
	first := 0
	for i, name := range inputs {
		if slices.Contains(inputs[:i], name) {
			return nil, fmt.Errorf("embedded: attach %q: input %q is named twice", group, name)
		}
		t, err := l.openTopic(name, 0)
		if err != nil {
			return nil, fmt.Errorf("embedded: attach %q: %w", group, err)
		}
		if i == 0 {
			first = len(t.parts)
		} else if first != len(t.parts) {
			return nil, fmt.Errorf("embedded: attach %q: input %q has %d partitions and %q has %d: a task reads the same partition of each, so make their numbers equal",
				group, inputs[0], first, name, len(t.parts))
		}
	}
	l.attachedMu.Lock()
	for _, name := range inputs {
		l.attached[name] = struct{}{}
	}
	l.attachedMu.Unlock()
	return &Attached{l: l, group: group, inputs: slices.Clone(inputs), owner: o}, nil
}

// Attached is one handler's subscriber. With the first subscription it has the owner
// assigned all partitions of all inputs; when the last one has ended, for whatever
// reason, they are revoked. Then it can be subscribed again.
type Attached struct {
	l      *Log
	group  string
	inputs []string
	owner  stateful.Owner
	runs   runs

	mu     sync.Mutex
	active map[string]struct{} // topics with a subscription
	topics map[string]*topic   // as assigned
	from   map[*partition]int64
}

// Traits returns those of the log with the number of partitions of the inputs.
func (s *Attached) Traits() stateful.SourceTraits {
	t := s.l.Traits()
	if n, err := s.l.Partitions(s.inputs[0]); err == nil {
		t.Partitions = n
	}
	return t
}

// AtEnd is that of the log.
func (s *Attached) AtEnd(p stateful.Partition, pos stateful.Position) bool { return s.l.AtEnd(p, pos) }

// AtEnd implements stateful.EndTeller. A record that is on its way to the disk is there already.
func (l *Log) AtEnd(p stateful.Partition, pos stateful.Position) bool {
	at, err := l.partition(p.Topic, p.Index)
	if err != nil || pos.Log != "" && pos.Log != at.t.log {
		return false
	}
	if pos.Log == "" {
		pos.Offset = at.start()
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	return pos.Offset == at.next
}

// SubscribeBatches implements stateful.BatchSubscriber. Each input can be subscribed once at a
// time. A position of another log, beyond the end or below the start is refused and
// never reset (S2).
func (s *Attached) SubscribeBatches(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return s.subscribe(ctx, topic, (*reader).batches)
}

// Subscribe delivers one message per record, one in flight per partition, from the owner's
// positions. An owner that keeps positions wants [Attached.SubscribeBatches].
func (s *Attached) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return s.subscribe(ctx, topic, func(r *reader) error { return r.singles(func(int64) {}) })
}

// Close ends the subscriptions, waits for them and has the owner revoked.
func (s *Attached) Close() error {
	s.runs.close()
	return nil
}

func (s *Attached) subscribe(ctx context.Context, topic string, deliver func(*reader) error) (<-chan *message.Message, error) {
	if !slices.Contains(s.inputs, topic) {
		return nil, fmt.Errorf("embedded: group %q: %q is not one of its inputs %q", s.group, topic, s.inputs)
	}
	run, err := s.runs.begin(ctx, s.l)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.assign(run.ctx, topic); err != nil {
		run.abort()
		return nil, fmt.Errorf("embedded: group %q: %w", s.group, err)
	}
	out := make(chan *message.Message)
	for _, p := range s.topics[topic].parts {
		from := s.from[p]
		run.read(p, func(ctx context.Context) error {
			r := s.l.newReader(ctx, p, from, out)
			defer func() {
				s.mu.Lock()
				s.from[p] = r.close()
				s.mu.Unlock()
			}()
			return deliver(r)
		})
	}
	run.done(func() {
		close(out)
		s.end(ctx, topic)
	})
	return out, nil
}

// assign has the owner open its tasks, if no subscription is active yet.
func (s *Attached) assign(ctx context.Context, input string) error {
	if _, ok := s.active[input]; ok {
		return fmt.Errorf("input %q has a subscription already", input)
	}
	if len(s.active) > 0 {
		s.active[input] = struct{}{}
		return nil
	}
	s.topics = make(map[string]*topic)
	var parts []*partition
	for _, name := range s.inputs {
		t, err := s.l.openTopic(name, 0)
		if err != nil {
			return err
		}
		s.topics[name] = t
		parts = append(parts, t.parts...)
	}
	names := names(parts)
	positions, err := s.owner.Assigned(ctx, names)
	if err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	if err := s.seek(parts, positions); err != nil {
		return errors.Join(err, s.revoke(ctx, names))
	}
	s.active = map[string]struct{}{input: {}}
	return nil
}

// names returns the partitions' names, those of one index together.
func names(parts []*partition) []stateful.Partition {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b *partition) int { return int(a.index) - int(b.index) })
	out := make([]stateful.Partition, len(parts))
	for i, p := range parts {
		out[i] = p.name()
	}
	return out
}

// seek checks all positions and makes the group known at them, durably.
func (s *Attached) seek(parts []*partition, positions map[stateful.Partition]stateful.Position) error {
	s.from = make(map[*partition]int64, len(parts))
	var errs []error
	for _, p := range parts {
		off, err := p.check(s.group, positions[p.name()])
		if err == nil {
			err = s.l.register(p, s.group, off)
		}
		errs = append(errs, err)
		s.from[p] = off
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.l.flushCommitted(s.l.db.WriteOptions())
}

// end is called when a subscription's readers have ended.
func (s *Attached) end(ctx context.Context, topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, topic)
	if len(s.active) > 0 {
		return
	}
	var parts []*partition
	for _, name := range s.inputs {
		parts = append(parts, s.topics[name].parts...)
	}
	if err := s.revoke(ctx, names(parts)); err != nil {
		s.l.c.Logger.Error("embedded: closing the tasks failed", err, map[string]any{"group": s.group})
	}
}

func (s *Attached) revoke(ctx context.Context, parts []stateful.Partition) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	return s.owner.Revoked(ctx, parts)
}

// check returns the offset of pos in p, or why it is refused.
func (p *partition) check(group string, pos stateful.Position) (int64, error) {
	switch {
	case pos.Log == "":
		return p.start(), nil
	case pos.Log != p.t.log:
		return 0, fmt.Errorf("%s: the state of group %q stands at offset %d of log %s, but the topic is now log %s: it was deleted or reset since; restore the topic, or begin with empty state under another name",
			p.name(), group, pos.Offset, pos.Log, p.t.log)
	case pos.Offset > p.visible.Load():
		return 0, beyondEnd(p, group, pos.Offset)
	}
	// Below the start is found out by register, which retention cannot overtake.
	return pos.Offset, nil
}

func beyondEnd(p *partition, group string, off int64) error {
	return fmt.Errorf("%s: group %q stands at offset %d, but the log ends at %d: it lost records, perhaps an older copy of its folder was put back; restore the newer copy, or state of the same age",
		p.name(), group, off, p.visible.Load())
}

func belowStart(p *partition, group string, off, start int64) error {
	return fmt.Errorf("%s: group %q stands at offset %d, but what is kept begins at %d: records it has not seen were deleted; restore newer state or an older copy of the log",
		p.name(), group, off, start)
}
