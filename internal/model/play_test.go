package model_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/internal/model"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/window"
)

const ms = time.Millisecond

// epoch is time 0 of a script.
var epoch = time.Unix(0, 0).UTC()

// lines is the codec of events, as words.
type lines struct{}

func (lines) Append(b []byte, v any) ([]byte, error) {
	e, ok := v.(*model.Event)
	if !ok {
		return nil, fmt.Errorf("encode a %T", v)
	}
	b = append(append(b, e.Key...), ' ')
	b = append(strconv.AppendInt(b, e.Time, 10), ' ')
	b = append(strconv.AppendInt(b, int64(e.N), 10), ' ')
	b = append(strconv.AppendBool(b, e.Bad), ' ')
	return strconv.AppendBool(b, e.Not), nil
}

func (lines) Decode(b []byte, v any) error {
	w := strings.Fields(string(b))
	if len(w) != 5 {
		return fmt.Errorf("event %q has not five words", b)
	}
	at, err := strconv.ParseInt(w[1], 10, 64)
	n, err2 := strconv.Atoi(w[2])
	*v.(*model.Event) = model.Event{Key: w[0], Time: at, N: n, Bad: w[3] == "true", Not: w[4] == "true"}
	return errors.Join(err, err2)
}

// own is the trigger that the model calls Own.
type own struct{ after time.Duration }

func (o own) String() string { return "own " + o.after.String() }

func (o own) OnElement(m handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	if m.Time.Equal(m.Window.End.Add(-ms)) {
		return handlers.Purge, handlers.TriggerState{}
	}
	switch s.N++; s.N {
	case 1:
		s.EventAt, s.ClockAt = m.Time.Add(o.after), m.Now.Add(o.after-ms/2) // rounded up
	case 3:
		return handlers.FireAndPurge, handlers.TriggerState{}
	}
	return handlers.Continue, s
}

func (own) OnEventTime(m handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	if m.Ended && !m.Closing {
		return handlers.Continue, s
	}
	return handlers.Fire, s
}

func (own) OnProcessingTime(_ handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	return handlers.Fire, s
}

func (s script) windows() window.Windows {
	p := s.spec
	switch p.Kind {
	case model.Sliding:
		return window.Sliding(time.Duration(p.Size)*ms, time.Duration(p.Slide)*ms).Offset(time.Duration(p.Offset) * ms)
	case model.Session:
		return window.Session(time.Duration(p.Gap) * ms)
	case model.Global:
		return window.Global()
	case model.Count:
		return window.Count(int(p.N))
	}
	return window.Tumbling(time.Duration(p.Size) * ms).Offset(time.Duration(p.Offset) * ms)
}

func (s script) trigger() handlers.Trigger {
	p := s.spec
	switch p.Trigger {
	case model.EveryN:
		if p.Every == 1 {
			return handlers.EveryUpdate()
		}
		return handlers.EveryN(int(p.Every))
	case model.EveryTime:
		return handlers.Every(time.Duration(p.Every) * ms)
	case model.FinalOnly:
		return handlers.FinalOnly()
	case model.Own:
		return own{time.Duration(p.Every) * ms}
	}
	return nil
}

// wider is a window handler with more inputs than its own.
type wider struct {
	handlers.Window[model.Event, string]
	inputs []string
	pace   stateful.Pace
}

func (w wider) Inputs() []string    { return w.inputs }
func (w wider) Pace() stateful.Pace { return w.pace }

func topic(input int) string { return "events" + strconv.Itoa(input) }

var errBad = stateful.Permanent(errors.New("a bad event"))

func (s script) handler() stateful.Handler {
	p := s.spec
	w := handlers.Window[model.Event, string]{
		Name: "lists", From: topic(0), To: "lists", LateTo: "late",
		Key:             func(e model.Event) string { return s.real(e.Key) },
		Time:            func(e model.Event) time.Time { return epoch.Add(time.Duration(e.Time) * ms) },
		Where:           func(e model.Event) bool { return !e.Not },
		Windows:         s.windows(),
		MaxDelay:        time.Duration(p.MaxDelay) * ms,
		AllowedLateness: time.Duration(p.Lateness)*ms + fault,
		Trigger:         s.trigger(),
		Emit:            handlers.EmitMode(p.Mode),
		FlushAfter:      time.Duration(p.FlushAfter) * ms,
		Fold: func(list string, e model.Event) (string, error) {
			if e.Bad {
				return "", errBad
			}
			return list + strconv.Itoa(e.N) + " ", nil
		},
		In:                  lines{},
		PartitionedBySource: true,
	}
	if s.merge {
		w.Merge = func(a, b string) (string, error) { return a + b, nil }
	}
	if p.Inputs == 1 {
		return w
	}
	h := wider{Window: w, pace: stateful.Pace{IdleAfter: time.Duration(p.IdleAfter) * ms, FlushAfter: w.FlushAfter}}
	for i := range p.Inputs {
		h.inputs = append(h.inputs, topic(i))
	}
	return h
}

// disk is a backend on a disk in memory, of which a process that ends leaves what was synced.
type disk struct {
	fs     *vfs.MemFS
	rng    *rand.Rand
	opened []stateful.TaskID // by this life
	*pebble.Backend
}

func newDisk() *disk { return &disk{fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(1, 2))} }

// Open opens a task. One that was opened before is opened by the next life.
func (d *disk) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	var err error
	if slices.Contains(d.opened, id) {
		survived := d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: d.rng.IntN(101), RNG: d.rng})
		if err = d.Close(); err != nil {
			return nil, stateful.Head{}, err
		}
		d.fs, d.opened, d.Backend = survived, nil, nil
	}
	if d.Backend == nil {
		if d.Backend, err = pebble.New(ctx, pebble.Config{Dir: "db", FS: d.fs, CacheBytes: 1 << 16, MemTableBytes: 1 << 16}); err != nil {
			return nil, stateful.Head{}, err
		}
	}
	d.opened = append(d.opened, id)
	return d.Backend.Open(ctx, id)
}

func (*disk) Domain() stateful.Domain { return stateful.DomainMachine }

// player plays a script on the engine and on the model.
type player struct {
	script
	t      handlerstest.T
	d      *handlerstest.Driver
	models []*model.Model // by partition
	had    [][]bool       // by partition: inputs that had events

	crashes int // that happened
}

// play returns what came of s and what should have.
func play(t handlerstest.T, s script) (got, want []model.Output) {
	p := run(t, s)
	return p.got(), p.want()
}

// run plays s on both sides.
func run(t handlerstest.T, s script) *player {
	s.spec.Sliced = s.sliced()
	p := &player{script: s, t: t}
	var backend stateful.Backend = memory.New()
	if s.pebble {
		backend = newDisk()
	}
	defer backend.Close()
	p.d = handlerstest.New(t, s.handler(), handlerstest.On(backend), handlerstest.StartAt(epoch.Add(time.Hour)),
		handlerstest.InBatchesOf(s.batch), handlerstest.Configure(func(c *stateful.Config) {
			c.Limits.CommitRows, c.Limits.CachedEntries = s.rows, s.cells
		}))
	for i := range s.partitions + s.idle {
		p.models = append(p.models, model.New(s.spec))
		p.had = append(p.had, make([]bool, s.spec.Inputs))
		for in := range s.spec.Inputs {
			p.d.OnPartition(int32(i)).SendTo(topic(in)) // it is there from the beginning
		}
	}
	if len(p.models) > 1 {
		p.d.Restart()
	}
	for _, st := range s.steps {
		p.step(st)
	}
	p.d.Close()
	for i := range s.partitions {
		p.nothingIsLeft(backend, stateful.TaskID{App: "kit", Handler: "lists", Partition: int32(i)})
	}
	return p
}

// nothingIsLeft checks that of windows that are all gone only what describes them is stored.
func (p *player) nothingIsLeft(b stateful.Backend, id stateful.TaskID) {
	store, _, err := b.Open(context.Background(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	for e, err := range store.Scan(context.Background(), "", "") {
		if err != nil {
			p.t.Fatal(err)
		}
		switch {
		case e.Key[0] != 's' && e.Key[0] != 't': // of no table, and no timer
		case strings.HasPrefix(e.Key, "sa\x00"), e.Key == "sc\x00open", e.Key == "sc\x00last": // what the windows are, how many sessions are open and until when
		default:
			p.t.Fatalf("%q is left in the store of %v, of the script\n%v", e.Key, id, p.script)
		}
	}
	if err := store.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// each does something to all models.
func (p *player) each(do func(*model.Model)) {
	for _, m := range p.models {
		do(m)
	}
}

func (p *player) step(st step) {
	p.d.CrashAtNth(st.crash, st.nth)
	switch st.what {
	case send:
		p.send(st.events)
		for _, e := range st.events {
			p.models[p.partition(e.Key)].Event(e)
			p.had[p.partition(e.Key)][e.Input] = true
		}
	case tick:
		p.d.Advance(time.Duration(st.ms) * ms)
		p.each(func(m *model.Model) { m.Tick(st.ms) })
	case restart:
		p.d.Restart()
		p.each((*model.Model).Restart)
	case redeliver:
		p.d.Redeliver(3)
		for i, m := range p.models {
			m.Repeat(p.had[i])
		}
	case end:
		p.d.End()
		p.each((*model.Model).End)
	}
	// Whether it came to the crash is up to how commits were cut.
	if st.crash != 0 && p.d.Crashed() {
		p.crashes++
		p.each((*model.Model).Restart)
	}
	p.d.CrashAtNth(0, 0)
}

// send sends events, those of one partition and input that follow each other together.
func (p *player) send(events []model.Event) {
	for len(events) > 0 {
		part, in := p.partition(events[0].Key), events[0].Input
		var some []any
		for len(events) > 0 && p.partition(events[0].Key) == part && events[0].Input == in {
			value, err := lines{}.Append(nil, &events[0])
			if err != nil {
				p.t.Fatal(err)
			}
			some = append(some, value)
			events = events[1:]
		}
		p.d.OnPartition(int32(part)).SendTo(topic(in), some...)
	}
}
