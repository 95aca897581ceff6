package stateful_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/statefultest"
)

// numbered returns n values and the lines that come of them in order.
func numbered(n int) (values, want []string) {
	sum := 0
	for i := range n {
		sum += i
		values = append(values, fmt.Sprintf("a %d", i))
		want = append(want, fmt.Sprintf("out: a %d", sum))
	}
	return values, want
}

// T1: many envelopes of a partition are in flight and the router starts their goroutines in
// any order; they are processed in that of their tickets. Some never reach the
// processor: those behind them are redelivered after them.
func TestOrderOfTickets(t *testing.T) {
	refused := errors.New("refused by a middleware")
	for _, tt := range []struct {
		name  string
		spoil func(rng *rand.Rand) message.HandlerMiddleware
		fault float64
	}{
		{"goroutines in any order", nil, 0},
		{"some are nacked before they are processed", func(rng *rand.Rand) message.HandlerMiddleware {
			return func(h message.HandlerFunc) message.HandlerFunc {
				return func(msg *message.Message) ([]*message.Message, error) {
					if rng.IntN(5) == 0 {
						return nil, refused
					}
					return h(msg)
				}
			}
		}, 0},
		{"some are nacked by hand and processed all the same", func(rng *rand.Rand) message.HandlerMiddleware {
			return func(h message.HandlerFunc) message.HandlerFunc {
				return func(msg *message.Message) ([]*message.Message, error) {
					if rng.IntN(5) == 0 {
						msg.Nack()
					}
					return h(msg)
				}
			}
		}, 0},
		{"some are nacked after they are processed", func(rng *rand.Rand) message.HandlerMiddleware {
			return func(h message.HandlerFunc) message.HandlerFunc {
				return func(msg *message.Message) ([]*message.Message, error) {
					out, err := h(msg)
					if rng.IntN(5) == 0 {
						err = refused
					}
					return out, err
				}
			}
		}, 0},
		{"a stock middleware tries again", func(rng *rand.Rand) message.HandlerMiddleware {
			retry := middleware.Retry{MaxRetries: 2, InitialInterval: time.Millisecond, Logger: watermill.NopLogger{}}
			return func(h message.HandlerFunc) message.HandlerFunc {
				return retry.Middleware(func(msg *message.Message) ([]*message.Message, error) {
					if rng.IntN(4) == 0 {
						return nil, refused
					}
					return h(msg)
				})
			}
		}, 0.1},
		{"commits are lost", nil, 0.3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(10) {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						values, want := numbered(60)
						src := newSource(values...)
						rng := rand.New(&locked{src: rand.NewPCG(seed, 1)})
						sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) {
							c.Source = src
							c.Backend = statefultest.Faulty(c.Backend, seed, tt.fault)
						}), src: src}
						mw := []message.HandlerMiddleware{scatter(func() time.Duration { return time.Duration(rng.IntN(1000)) })}
						if tt.spoil != nil {
							mw = append(mw, tt.spoil(rng))
						}
						sys.start(mw...)
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
		})
	}
}

// locked is a random source for many goroutines.
type locked struct {
	mu  sync.Mutex
	src *rand.PCG
}

func (l *locked) Uint64() uint64 { l.mu.Lock(); defer l.mu.Unlock(); return l.src.Uint64() }

// A stock subscriber with many messages in flight: the order in which it delivered them.
func TestOrderOfPlainMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, want := numbered(50)
		src := make(plain)
		rng := rand.New(&locked{src: rand.NewPCG(1, 1)})
		sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) { c.Source = src })}
		sys.start(scatter(func() time.Duration { return time.Duration(rng.IntN(1000)) }))
		for _, v := range values {
			src <- message.NewMessage(watermill.NewUUID(), []byte(v))
		}
		time.Sleep(time.Minute)
		sys.want(want...)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// T5, T1: what would lose records or bypass their order fails loudly.
func TestMiddlewaresThatLoseRecordsAreFound(t *testing.T) {
	third := func(f func(h message.HandlerFunc, msg *message.Message) ([]*message.Message, error)) message.HandlerMiddleware {
		n := 0
		return func(h message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				if b, _ := stateful.BatchFrom(msg.Context()); b != nil && len(b.Records) > 0 && b.Records[0].Offset == 4 {
					n++
					return f(h, msg)
				}
				return h(msg)
			}
		}
	}
	for _, tt := range []struct {
		name string
		mw   message.HandlerMiddleware
		want string
	}{
		{"it acknowledges without processing", third(func(h message.HandlerFunc, msg *message.Message) ([]*message.Message, error) {
			return nil, nil
		}), "acknowledged without reaching the processor"},
		{"it copies the message without its context", third(func(h message.HandlerFunc, msg *message.Message) ([]*message.Message, error) {
			return h(msg.Copy())
		}), "copied it without its context"},
		{"it acknowledges the message and then loses it", third(func(h message.HandlerFunc, msg *message.Message) ([]*message.Message, error) {
			msg.Ack()
			return nil, errors.New("lost")
		}), "acknowledged without reaching the processor"},
	} {
		for _, n := range []int{6, 12} { // the third envelope is the last one, or not
			t.Run(fmt.Sprintf("%s/%d", tt.name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					values, want := numbered(n)
					src := newSource(values...)
					sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) { c.Source = src }), src: src}
					sys.start(tt.mw)
					time.Sleep(time.Minute)
					sys.want(want[:4]...)
					wantErr(t, sys.p.Ready(), tt.want)
					wantErr(t, <-sys.ended, tt.want)
					// Without it nothing was lost.
					sys.start()
					time.Sleep(time.Minute)
					sys.want(want...)
					if err := sys.stop(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

func TestSourceThatLosesTheContextIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, _ := numbered(6)
		src := newSource(values...)
		src.touch = func(_ int, msg *message.Message) *message.Message { return msg.Copy() }
		sys := runSystem(t, src, sums())
		wantErr(t, <-sys.ended, "copied it without its context")
		sys.want()
	})
}
