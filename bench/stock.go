package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// newGoChannel returns Watermill's in-memory Pub/Sub as one uses it to keep order: Publish
// returns when the message is acked.
func newGoChannel() *gochannel.GoChannel {
	return gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
}

func stockTopic(part int) string { return inputTopic + "-" + strconv.Itoa(part) }

// stockCounter is a stock Watermill service: a topic for each partition, handlers that decode
// and count in a map, one message per event.
func stockCounter(p *pool, total int64, w *stopwatch) (sample, error) {
	router, err := newRouter()
	if err != nil {
		return sample{}, err
	}
	ps := newGoChannel()
	out := newTally(p.exact(total))
	counters := make([]*counter, partitions)
	for i := range partitions {
		c := newCounter(window10s, out.add)
		counters[i] = c
		router.AddConsumerHandler(stockTopic(i), stockTopic(i), ps, func(msg *message.Message) error {
			var e event
			if err := decodeBinary(msg.Payload, &e); err != nil {
				return err
			}
			c.add(&e)
			return nil
		})
	}
	var s sample
	err = running(router, func(context.Context) error {
		w.start()
		err := publish(ps, p, total, stockTopic, false)
		for _, c := range counters {
			c.advance(math.MaxInt64)
			out.dropped(c.late)
		}
		s = w.stop(p.exact(total))
		return errors.Join(err, out.check())
	})
	return s, errors.Join(err, ps.Close())
}

// publish publishes each partition's events from a goroutine of its own. With keyed they have a
// UUID and carry their key, which the processor needs.
func publish(pub message.Publisher, p *pool, total int64, topic func(part int) string, keyed bool) error {
	errs := make([]error, partitions)
	var wg sync.WaitGroup
	for i := range partitions {
		wg.Go(func() { errs[i] = publishPart(pub, p, i, p.share(i, total), topic(i), keyed) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func publishPart(pub message.Publisher, p *pool, part int, end int64, topic string, keyed bool) error {
	recs := makeRecords()
	for next := int64(0); next < end; next += int64(len(recs)) {
		recs = p.fill(recs[:0], part, next, int(min(loopBatch, end-next)))
		for i := range recs {
			msg := message.NewMessage("", recs[i].Value)
			if keyed {
				msg.UUID = strconv.Itoa(part) + "/" + strconv.FormatInt(next+int64(i), 10)
				msg.Metadata["pondage_key"] = string(recs[i].Key)
			}
			if err := pub.Publish(topic, msg); err != nil {
				return err
			}
		}
	}
	return nil
}

// stockBare sends the same messages, from one publisher, to a bare router.
func stockBare(p *pool, total int64, w *stopwatch) (sample, error) {
	router, err := newRouter()
	if err != nil {
		return sample{}, err
	}
	ps := newGoChannel()
	router.AddConsumerHandler("nothing", inputTopic, ps, func(*message.Message) error { return nil })
	var s sample
	err = running(router, func(context.Context) error {
		w.start()
		err := publishPart(ps, p, 0, total, inputTopic, true)
		s = w.stop(total)
		return err
	})
	return s, errors.Join(err, ps.Close())
}

// stockPath sends them through the whole path: a plain subscriber, told apart by UUID.
func stockPath(p *pool, total int64, w *stopwatch) (sample, error) {
	ps, backend := newGoChannel(), memory.New()
	stats := new(handlers.Stats)
	proc, err := stateful.NewProcessor(stateful.Config{
		App: "bench", Source: ps, Backend: backend, Outbox: outbox.New(outbox.Discard()), Logger: slog.New(slog.DiscardHandler),
		Limits: stateful.Limits{Future: math.MaxInt64 / 2},
	})
	if err != nil {
		return sample{}, err
	}
	router, err := newRouter()
	if err != nil {
		return sample{}, err
	}
	c := path{pool: p, size: window10s}
	if err := proc.AddTo(router, c.handler(stats)); err != nil {
		return sample{}, err
	}
	var s sample
	err = processing(proc, router, func(context.Context) error {
		w.start()
		err := publishPart(ps, p, 0, total, inputTopic, true)
		s = w.stop(total)
		return err
	})
	if n := stats.Read(); err == nil && n.Folded != uint64(total) {
		err = fmt.Errorf("sent %d events, %d were folded", total, n.Folded)
	}
	return s, errors.Join(err, ps.Close(), backend.Close())
}
