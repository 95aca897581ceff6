package stateful_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
)

// opener is a backend whose second Open is interrupted.
type opener struct {
	stateful.Backend
	interrupt func()
	opens     atomic.Int32
}

func (o *opener) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	if o.opens.Add(1) == 2 {
		o.interrupt()
	}
	return o.Backend.Open(ctx, id)
}

// Whatever interrupts a batch outside of its records, its envelope goes back to the source
// and the task is opened again. Workers that are left behind would be found by goleak.
func TestWhatInterruptsAWorkerIsTheTasks(t *testing.T) {
	for _, tt := range []struct {
		name      string
		interrupt func()
	}{
		{"a panic", func() { panic("poison") }},
		{"its goroutine ends", runtime.Goexit},
	} {
		for _, where := range []string{"opening", "processing", "committing", "publishing"} {
			t.Run(tt.name+" while "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					values, want := numbered(20)
					h, src := sums(), newSource(values...)
					sys := &system{rig: newRig(t, h, func(c *stateful.Config) { c.Source = src }), src: src}
					switch where {
					case "opening":
						b := scripted(&opener{Backend: sys.cfg.Backend, interrupt: tt.interrupt})
						b.submit = func(n int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
							if n == 3 {
								return failedPending{errDisk}
							}
							return apply()
						}
						sys.cfg.Backend = b
					case "processing":
						h.after = atThe(7, tt.interrupt)
					case "committing":
						b := scripted(sys.cfg.Backend)
						b.submit = func(n int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
							if n == 3 {
								tt.interrupt()
							}
							return apply()
						}
						sys.cfg.Backend = b
					case "publishing":
						interrupt := atThe(3, tt.interrupt)
						sys.sink.push = func() { _ = interrupt(nil, nil, nil) }
					}
					sys.start()
					time.Sleep(time.Minute)
					sys.want(want...)
					if err := sys.p.Ready(); err != nil {
						t.Error(err)
					}
					if err := sys.stop(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// atThe returns what a handler does with its n-th record.
func atThe(n int, f func()) func(context.Context, *stateful.Tx, *stateful.Record) error {
	return func(context.Context, *stateful.Tx, *stateful.Record) error {
		if n--; n == 0 {
			f()
		}
		return nil
	}
}
