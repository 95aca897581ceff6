package stateful_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

func newProcessor(t *testing.T, change func(*stateful.Config)) *stateful.Processor {
	t.Helper()
	c := stateful.Config{App: "test", Backend: memory.New(), Outbox: newSink(), Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	p, err := stateful.NewProcessor(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConfigNamesEveryFault(t *testing.T) {
	_, err := stateful.NewProcessor(stateful.Config{App: "Clicks!", DeadLetterTo: "dead", Limits: stateful.Limits{CommitRows: -1, KeyBytes: -1}})
	wantErr(t, err, `App is "Clicks!"`, "Backend is required", "DeadLetterTo needs an Outbox", "CommitRows is negative", "KeyBytes is negative")
}

// All faults of all handlers at once, and none of them is added.
func TestAddToNamesEveryFault(t *testing.T) {
	router := newRouter(t)
	s := newSink()
	s.refused = map[string]error{"nowhere": errors.New("no sink takes it")}
	p := newProcessor(t, func(c *stateful.Config) { c.Outbox = s })
	good := sums()
	err := p.AddTo(router, stateful.From(newSource(), good),
		&adder{name: "Bad Name"},
		&adder{name: "twice", inputs: []string{"in", "in", ""}, to: "nowhere", delay: -time.Second, invalid: errors.New("Fold is required")},
		&adder{name: "sums", inputs: []string{"in"}},
	)
	wantErr(t, err,
		`handler "Bad Name"`, "it reads nothing", "Config.Source is required",
		`handler "twice"`, `input "in" is named twice`, "an input topic is empty", `output "nowhere": no sink takes it`, "MaxDelay is negative", "Fold is required",
		`handler "sums"`, "the name is taken",
	)
	if len(router.Handlers()) > 0 {
		t.Errorf("handlers were added: %v", router.Handlers())
	}
	if err := p.AddTo(router, stateful.From(newSource(), good)); err != nil {
		t.Error(err)
	}
}

func TestEmittingNeedsAnOutbox(t *testing.T) {
	p := newProcessor(t, func(c *stateful.Config) { c.Outbox = nil })
	wantErr(t, p.AddTo(nil, sums()), `it emits to "out": Config.Outbox is required`)
}

// A name that is taken in the router is an error, where Watermill would panic.
func TestNameTakenInTheRouter(t *testing.T) {
	for _, name := range []string{"sums", "sums/other"} {
		t.Run(name, func(t *testing.T) {
			router := newRouter(t)
			router.AddConsumerHandler(name, "in", make(plain), func(*message.Message) error { return nil })
			p := newProcessor(t, func(c *stateful.Config) { c.Source = make(plain) })
			h := sums()
			h.inputs = []string{"in", "other"}
			wantErr(t, p.AddTo(router, h), "another handler")
			if n := len(router.Handlers()); n != 1 {
				t.Errorf("the router has %d handlers, want the one it had", n)
			}
		})
	}
}

// O3: two handlers on one topic never share a group.
func TestEveryHandlerHasItsOwnGroup(t *testing.T) {
	src := newSource()
	p := newProcessor(t, func(c *stateful.Config) { c.Source = src })
	if err := p.AddTo(newRouter(t), sums(), &adder{name: "other", inputs: []string{"in"}}); err != nil {
		t.Fatal(err)
	}
	wantLines(t, src.groups, "test.sums", "test.other")
}

// keyed says that it keeps state by key.
type keyed struct {
	adder
	promised bool
}

func (k *keyed) HasKey() bool           { return true }
func (k *keyed) KeysFollowSource() bool { return k.promised }

// O4: state of one key is in one partition, or the user is told.
func TestKeysFollowThePartitions(t *testing.T) {
	for _, tt := range []struct {
		name     string
		traits   stateful.SourceTraits
		promised bool
		want     string
	}{
		{"an unknown partitioner of many partitions is refused", stateful.SourceTraits{Position: true, Partitions: 3}, false, "set PartitionedBySource"},
		{"of an unknown number too", stateful.SourceTraits{Position: true}, false, "set PartitionedBySource"},
		{"one partition needs none", stateful.SourceTraits{Position: true, Partitions: 1}, false, ""},
		{"a known one is taken", stateful.SourceTraits{Position: true, Partitions: 3, Partitioner: stateful.Murmur2Partitioner}, false, ""},
		{"a promise is believed", stateful.SourceTraits{Position: true, Partitions: 3}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := newSource()
			src.traits = tt.traits
			p := newProcessor(t, func(c *stateful.Config) { c.Source = src })
			err := p.AddTo(newRouter(t), &keyed{adder: *sums(), promised: tt.promised})
			if tt.want != "" {
				wantErr(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// checking is a keyed handler that asks, as typed handlers do, where its key belongs.
type checking struct{ keyed }

func (c *checking) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	if err := tx.Task().CheckKey(string(rec.Value[:1])); err != nil {
		return err
	}
	return c.adder.Process(ctx, tx, rec)
}

func TestKeyOfAnotherPartitionStopsTheProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrong string
		at := int(0)
		for _, k := range []string{"a", "b", "c", "d", "e", "f"} {
			if p := stateful.Murmur2Partitioner([]byte(k), 3); wrong == "" && p != 0 {
				wrong, at = k, p
			}
		}
		src := newSource(wrong + " 1")
		src.traits.Partitions, src.traits.Partitioner = 3, stateful.Murmur2Partitioner
		sys := runSystem(t, src, &checking{keyed{adder: *sums()}})
		err := <-sys.ended
		wantErr(t, err, `Key returned "`+wrong+`"`, "PartitionedBySource")
		sys.want()
		// Where it belongs it is welcome.
		src2 := newSource()
		src2.traits = src.traits
		src2.add("in", int32(at), wrong+" 1")
		sys.cfg.Source = src2
		sys.start()
		time.Sleep(time.Second)
		synctest.Wait()
		sys.want("out: " + wrong + " 1")
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// S1: what keeps less than Config.Domain asks for is refused, each with its remedy.
func TestDomainIsKeptByTheWholeChain(t *testing.T) {
	const process, machine, server = stateful.DomainProcess, stateful.DomainMachine, stateful.DomainServer
	for _, tt := range []struct {
		name                  string
		asked                 stateful.Domain
		source, backend, sink stateful.Domain
		stock                 bool // the source says nothing
		refused               []string
	}{
		{"nothing is asked for", process, process, server, machine, false, nil},
		{"all keep as much", machine, machine, machine, machine, false, nil},
		{"all keep more", machine, server, server, server, false, nil},
		{"the state does not", machine, server, process, server, false, []string{"Config.Domain is machine and the state is lost with the process: take a backend"}},
		{"the source does not", server, machine, server, server, false, []string{"the source is lost with the machine"}},
		{"the sink does not", machine, machine, machine, process, false, []string{`sink "test" is lost with the process`}},
		{"none does", server, machine, process, machine, false, []string{"the state is", "the source is", `sink "test" is`}},
		{"a stock source does not say", machine, process, machine, machine, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := newSource()
			src.traits = stateful.SourceTraits{Position: true, Seek: true, Partitions: 1, Domain: tt.source}
			s := newSink()
			s.traits.Domain = tt.sink
			p := newProcessor(t, func(c *stateful.Config) {
				c.Source, c.Outbox, c.Domain = src, s, tt.asked
				if tt.stock {
					c.Source = make(plain)
				}
				c.Backend = domained{c.Backend, tt.backend}
			})
			err := p.AddTo(newRouter(t), sums())
			if tt.refused == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantErr(t, err, tt.refused...)
			if n := strings.Count(err.Error(), "Config.Domain"); n != len(tt.refused) {
				t.Errorf("%d things are refused, want %d: %v", n, len(tt.refused), err)
			}
		})
	}
	_, err := stateful.NewProcessor(stateful.Config{App: "test", Backend: memory.New(), Domain: 7})
	wantErr(t, err, "Domain is 7")
}

func TestGuarantee(t *testing.T) {
	all := stateful.SourceTraits{Position: true, Seek: true, StableID: true, FIFO: true, Partitions: 1, Domain: stateful.DomainMachine}
	lives := all
	lives.Domain = stateful.DomainProcess
	stock := stateful.SourceTraits{}
	stable := stateful.SourceTraits{StableID: true}
	for _, tt := range []struct {
		name   string
		source stateful.SourceTraits
		domain stateful.Domain
		sink   stateful.SinkTraits
		weaken bool
		want   stateful.Level
		why    string
	}{
		{"positions, a disk, a cursor", all, stateful.DomainMachine, stateful.SinkTraits{Cursor: true, Domain: stateful.DomainMachine}, false, stateful.ExactlyOnce, ""},
		{"everything lives and dies with the process", lives, stateful.DomainProcess, stateful.SinkTraits{Cursor: true}, false, stateful.ExactlyOnce, ""},
		{"a sink that is weak", all, stateful.DomainMachine, stateful.SinkTraits{Weak: "it forgets"}, false, stateful.AtLeastOnce, "it forgets"},
		{"state in memory, outputs on disk", all, stateful.DomainProcess, stateful.SinkTraits{Cursor: true, Domain: stateful.DomainMachine}, false, stateful.AtLeastOnce, "gets its outputs again"},
		{"a stock source on a disk", stock, stateful.DomainMachine, stateful.SinkTraits{Cursor: true}, false, stateful.AtLeastOnce, "told apart by UUID"},
		{"stable ids on a disk", stable, stateful.DomainMachine, stateful.SinkTraits{Cursor: true}, false, stateful.ExactlyOnce, ""},
		{"stable ids that may be forgotten", stable, stateful.DomainMachine, stateful.SinkTraits{Cursor: true}, true, stateful.AtLeastOnce, "DedupWeaken"},
		{"a stock source and memory", stock, stateful.DomainProcess, stateful.SinkTraits{Cursor: true}, false, stateful.AtMostOnce, "cannot seek"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := newSource()
			src.traits = tt.source
			s := newSink()
			s.traits = tt.sink
			for _, demand := range []stateful.Delivery{stateful.DeliverWhatItGives, stateful.DeliverExactlyOnce} {
				p := newProcessor(t, func(c *stateful.Config) {
					c.Source, c.Outbox, c.Delivery = src, s, demand
					c.Backend = domained{c.Backend, tt.domain}
					c.Limits.DedupWeaken = tt.weaken
				})
				err := p.AddTo(newRouter(t), sums())
				if demand == stateful.DeliverExactlyOnce {
					if (err == nil) != (tt.want == stateful.ExactlyOnce) {
						t.Errorf("asked for exactly once: %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				g := p.Guarantee()
				if g.Level != tt.want {
					t.Errorf("it gives %s, want %s", g, tt.want)
				}
				if tt.why != "" {
					wantErr(t, errors.New(g.String()), tt.why)
				}
			}
		})
	}
}

type domained struct {
	stateful.Backend
	domain stateful.Domain
}

func (d domained) Domain() stateful.Domain { return d.domain }

// What fails for good must not come back to the handler that failed.
func TestADeadLetterTopicThatIsReadIsRefused(t *testing.T) {
	p := newProcessor(t, func(c *stateful.Config) { c.DeadLetterTo = "in" })
	wantErr(t, p.AddTo(nil, sums()), `DeadLetterTo is "in", which it reads`)
}

func TestANilHandlerIsRefused(t *testing.T) {
	p := newProcessor(t, nil)
	wantErr(t, p.AddTo(nil, sums(), nil), "handler 1 of this call is nil")
	wantErr(t, p.AddTo(nil, stateful.From(nil, nil)), "handler 0 of this call is nil")
}
