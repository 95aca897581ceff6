package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pondage/pondage/stateful"
)

// errStopped says that the caller has left the scan.
var errStopped = errors.New("stopped")

type yielder = func(stateful.Entry, error) bool

// mayScan waits until the server has every commit submitted.
func (s *store) mayScan(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return stateful.ErrClosed
	}
	last, err := s.line.Readable()
	if err != nil || last == nil {
		return err
	}
	if err := last.Wait(ctx); ctx.Err() != nil {
		return err
	}
	_, err = s.line.Readable()
	return err
}

// A chunk of a scan has few entries at first, for some callers want one, and then as many as fit
// into about chunkBytes.
const (
	firstChunk = 16
	lastChunk  = 2048
	chunkBytes = 256 << 10
)

// scanIndex reads the entries in the order of the index, a chunk with each script.
func (s *store) scanIndex(ctx context.Context, from, to string, yield yielder) error {
	if err := s.mayScan(ctx); err != nil {
		return err
	}
	low, high := "["+field(from), "+"
	if to != "" {
		high = "(" + field(to)
	}
	for limit := firstChunk; ; {
		fields, values, err := s.scanChunk(ctx, low, high, limit)
		if err != nil {
			return err
		}
		bytes := 0
		for i, f := range fields {
			bytes += len(f) + len(values[i])
			if !yield(stateful.Entry{Key: unfield(f), Value: values[i]}, nil) {
				return errStopped
			}
		}
		if len(fields) < limit {
			return nil
		}
		low = "(" + fields[len(fields)-1]
		limit = min(4*limit, lastChunk, max(firstChunk, chunkBytes*len(fields)/max(bytes, 1)))
	}
}

func (s *store) scanChunk(ctx context.Context, low, high string, limit int) (fields []string, values [][]byte, err error) {
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	defer s.b.calls.Leave()
	since := s.line.Acked()
	var answer any
	err = s.b.guard.Again(ctx, func() (err error) {
		answer, err = scanScript.run(ctx, s.b.client, []string{s.keys.hash, s.keys.index}, low, high, limit)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	got, ok := answer.([]any)
	if !ok || len(got) != 4 {
		return nil, nil, fmt.Errorf("the script answered %T", answer)
	}
	if _, err := checkHead(since, got[0]); err != nil {
		return nil, nil, err
	}
	if got[1] != int64(1) {
		return nil, nil, fmt.Errorf("the index %s is not that of the hash: something else changed one of them; it is made anew when the task is opened", s.keys.index)
	}
	names, _ := got[2].([]any)
	found, _ := got[3].([]any)
	for _, n := range names {
		f, _ := n.(string)
		fields = append(fields, f)
	}
	values = appendValues(nil, found)
	if len(values) != len(fields) || slices.ContainsFunc(values, func(v []byte) bool { return v == nil }) {
		return nil, nil, fmt.Errorf("the index %s names fields that the hash has not: something else changed one of them", s.keys.index)
	}
	return fields, values, nil
}

// unorderedWarning is how many entries a scan without an index may look at before the log says so.
const unorderedWarning = 10_000

// scanAll reads the whole hash and puts what is in [from, to) in order.
func (s *store) scanAll(ctx context.Context, from, to string, yield yielder) error {
	if err := s.mayScan(ctx); err != nil {
		return err
	}
	var found []stateful.Entry
	err := s.eachField(ctx, matching(from, to), func(f, value string) {
		if key := unfield(f); key >= from && (to == "" || key < to) {
			found = append(found, stateful.Entry{Key: key, Value: []byte(value)})
		}
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(found, func(a, b stateful.Entry) int { return strings.Compare(a.Key, b.Key) })
	// The server may give one twice; nothing changes meanwhile, so they are equal.
	found = slices.CompactFunc(found, func(a, b stateful.Entry) bool { return a.Key == b.Key })
	for _, e := range found {
		if e.Value == nil {
			e.Value = []byte{}
		}
		if !yield(e, nil) {
			return errStopped
		}
	}
	return nil
}

// eachField calls f with the entries of the hash that match a pattern, some of them more than once, and then
// checks that nobody else can have changed it meanwhile.
func (s *store) eachField(ctx context.Context, match string, f func(field, value string)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.b.calls.Leave()
	const count = 1000
	since := s.line.Acked()
	var seen int
	for cursor := uint64(0); ; {
		var got []string
		err := s.b.guard.Again(ctx, func() error {
			var err error
			var next uint64
			got, next, err = s.b.client.HScan(ctx, s.keys.hash, cursor, match, count).Result()
			if err == nil {
				cursor = next
			}
			return err
		})
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(got); i += 2 {
			if isEntry(got[i]) {
				f(got[i], got[i+1])
			}
		}
		if seen += count; cursor == 0 {
			break
		}
	}
	if seen > unorderedWarning && !s.b.c.Index {
		s.b.warnOnce.Do(func() {
			s.b.c.Logger.Warn("redis: scans read whole tasks: set Config.Index", "task", s.id.String(), "entries", seen)
		})
	}
	var h any
	err := s.b.guard.Again(ctx, func() (err error) {
		got, err := s.b.client.HMGet(ctx, s.keys.hash, headField).Result()
		if err == nil {
			h = got[0]
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = checkHead(since, h)
	return err
}

// matching is the pattern of what all fields in [from, to) begin with.
func matching(from, to string) string {
	from, to = field(from), field(to)
	n := 0
	for n < len(from) && n < len(to) && from[n] == to[n] {
		n++
	}
	var b strings.Builder
	for i := range n {
		if strings.IndexByte(`*?[]\^-`, from[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(from[i])
	}
	return b.String() + "*"
}

// checkIndex makes the index anew when it does not have the hash's fields.
func (s *store) checkIndex(ctx context.Context) error {
	var fields, members int64
	err := s.b.guard.Again(ctx, func() error {
		pipe := s.b.client.Pipeline()
		hlen, zcard := pipe.HLen(ctx, s.keys.hash), pipe.ZCard(ctx, s.keys.index)
		_, err := pipe.Exec(ctx)
		fields, members = hlen.Val(), zcard.Val()
		return err
	})
	if err != nil || fields == members+1 {
		return err
	}
	const chunk = 1000
	args := make([]any, 0, 2+2*chunk)
	flush := func(anew string) error {
		args[0], args[1] = encodeHead(s.sent), anew
		var answer any
		err := s.b.guard.Again(ctx, func() (err error) {
			answer, err = indexScript.run(ctx, s.b.client, []string{s.keys.hash, s.keys.index}, args...)
			return err
		})
		args = args[:2]
		if err == nil && answer != int64(1) {
			_, err = checkHead(s.sent, answer)
		}
		return err
	}
	args = args[:2]
	if err := flush("1"); err != nil {
		return fmt.Errorf("drop the index: %w", err)
	}
	var failed error
	err = s.eachField(ctx, "*", func(f, _ string) {
		if args = append(args, 0, f); len(args) == cap(args) && failed == nil {
			failed = flush("0")
		}
		if failed != nil {
			args = args[:2]
		}
	})
	if err = errors.Join(err, failed); err == nil && len(args) > 2 {
		err = flush("0")
	}
	if err != nil {
		return fmt.Errorf("make the index: %w", err)
	}
	return nil
}
