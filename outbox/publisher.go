package outbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// The metadata of a published message, beside the row's headers.
const (
	// KeyMetadata is the default metadata of a row's key. It is where
	// stateful.Config.KeyFrom looks by default.
	KeyMetadata = "pondage_key"
	// TimeMetadata is the metadata of a row's event time, in RFC 3339 with
	// milliseconds, UTC. Rows without a time have none.
	TimeMetadata = "pondage_time"
)

// PublisherConfig configures the sink that [Publisher] returns.
type PublisherConfig struct {
	// Name tells the sink from others. Default "publisher".
	Name string
	// Topics are those that go to this sink. Default: all that no other sink names.
	Topics []string
	// KeyTo is the metadata that carries the row's key. Default [KeyMetadata].
	KeyTo string
	// MaxBytes is the largest payload that the publisher takes; larger ones are refused
	// when they are emitted. Default: no limit.
	MaxBytes int
	// FIFO promises that the publisher keeps the order of what it is given.
	FIFO bool
	// Domain says what a published message survives. Default DomainProcess.
	Domain stateful.Domain
}

// Publisher returns a sink that publishes with any Watermill publisher, at least
// once: after a crash, or an error, messages may be published again. A row's message always has the same UUID, made
// from app, incarnation, handler, partition and sequence, so that receivers can drop repeats. State that dies with the process begins
// anew and may give other outputs under the same sequences, so there it is also made from the life of the state (Producer.Run).
//
// Of headers with one name the last one counts. A message's context is the relay's. When Publish does not
// return, it is left behind once the task closes. Closing the sink does not close pub.
func Publisher(pub message.Publisher, c PublisherConfig) Sink {
	c.Name = cmp.Or(c.Name, "publisher")
	c.KeyTo = cmp.Or(c.KeyTo, KeyMetadata)
	return &publisher{pub: pub, c: c}
}

type publisher struct {
	pub    message.Publisher
	c      PublisherConfig
	closed atomic.Bool
}

// Traits implements [Sink].
func (p *publisher) Traits() stateful.SinkTraits {
	return stateful.SinkTraits{
		Name: p.c.Name, FIFO: p.c.FIFO, Domain: p.c.Domain,
		Weak: "a Watermill publisher keeps no cursor, so after a crash messages may be published again; receivers can drop repeats by UUID",
	}
}

// Topics implements [Selective].
func (p *publisher) Topics() []string { return p.c.Topics }

// Check implements [Sink].
func (p *publisher) Check(row *stateful.Row) error {
	switch {
	case p.pub == nil:
		return errors.New("Publisher was given no publisher")
	case p.c.MaxBytes > 0 && len(row.Payload) > p.c.MaxBytes:
		return fmt.Errorf("the payload has %d bytes, the limit is MaxBytes %d", len(row.Payload), p.c.MaxBytes)
	}
	return nil
}

// Recover implements [Sink].
func (p *publisher) Recover(ctx context.Context, _ stateful.Producer, _ []stateful.Prepared) (Cursor, error) {
	return Cursor{}, p.usable(ctx)
}

func (p *publisher) usable(ctx context.Context) error {
	if p.closed.Load() {
		return fmt.Errorf("outbox: publisher sink: %w", stateful.ErrClosed)
	}
	return ctx.Err()
}

// Commit implements [Sink]. Consecutive rows of one topic are one Publish.
func (p *publisher) Commit(ctx context.Context, who stateful.Producer, rows []stateful.Row) (int, error) {
	id := newIDs(who)
	for n := 0; n < len(rows); {
		if err := p.usable(ctx); err != nil {
			return n, err
		}
		topic, from := rows[n].Topic, n
		var msgs []*message.Message
		for ; n < len(rows) && rows[n].Topic == topic; n++ {
			msgs = append(msgs, p.message(ctx, &rows[n], id.of(rows[n].Seq)))
		}
		if err := p.publish(ctx, topic, msgs); err != nil {
			return from, err
		}
	}
	return len(rows), nil
}

// publish returns when ctx is done, for Publish knows no context.
func (p *publisher) publish(ctx context.Context, topic string, msgs []*message.Message) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("the publisher panicked: %v", v)
			}
		}()
		done <- p.pub.Publish(topic, msgs...)
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("publish to %q: %w", topic, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// message copies the row: a publisher may keep what it is given.
func (p *publisher) message(ctx context.Context, row *stateful.Row, uuid string) *message.Message {
	m := message.NewMessage(uuid, slices.Clone(row.Payload))
	for _, h := range row.Headers {
		m.Metadata[strings.Clone(h.Key)] = strings.Clone(h.Value)
	}
	if row.Key != nil {
		m.Metadata[p.c.KeyTo] = string(row.Key)
	}
	if row.Time != stateful.NoTime {
		m.Metadata[TimeMetadata] = time.UnixMilli(row.Time).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	m.SetContext(ctx)
	return m
}

// Close implements [Sink].
func (p *publisher) Close() error {
	p.closed.Store(true)
	return nil
}

// ids makes UUIDs of version 8 (RFC 9562): a digest of the producer and, in the
// last 62 bits, the sequence. Two rows of one producer never share one.
type ids [16]byte

func newIDs(p stateful.Producer) (id ids) {
	var b []byte
	for _, s := range []string{p.App, p.Handler, p.Run} { // lengths keep ("a", "bc") from ("ab", "c")
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.AppendUvarint(b, p.Incarnation)
	b = binary.AppendVarint(b, int64(p.Partition))
	sum := sha256.Sum256(b)
	copy(id[:8], sum[:])
	id[6] = 0x80 | id[6]&0x0f
	return id
}

func (id ids) of(seq uint64) string {
	binary.BigEndian.PutUint64(id[8:], seq&(1<<62-1)|1<<63)
	var s [36]byte
	hex.Encode(s[0:8], id[0:4])
	hex.Encode(s[9:13], id[4:6])
	hex.Encode(s[14:18], id[6:8])
	hex.Encode(s[19:23], id[8:10])
	hex.Encode(s[24:36], id[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
