package handlers

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// Result is what a window gives for one key, each time it fires.
type Result[A any] struct {
	Key    string
	Window Bounds
	Value  A
	// Pane counts the results of this key and window from 0. One with a higher Pane
	// replaces those before it.
	Pane int
	// ID is made of the handler's name, the key, the window and the pane, and of nothing
	// else: it is the same however the input was cut into batches and however often
	// it was processed, so that a reader can drop repeats by it (T8).
	ID string
	// Retract is the ID of an earlier result that this one takes back, with its Key, Window,
	// Value and Pane; empty otherwise. Only [Retracting] windows have such. Its own ID is another.
	Retract string
	// Flushed says that the window was closed by silence and not by the watermark of events, see
	// [Window.FlushAfter].
	Flushed bool
}

// Bounds are the event times from Start up to, but not including, End, in UTC.
type Bounds struct{ Start, End time.Time }

func boundsOf(s window.Span) Bounds {
	return Bounds{Start: time.UnixMilli(s.Start).UTC(), End: time.UnixMilli(s.End).UTC()}
}

// resultJSON is the shape of a result.
type resultJSON[A any] struct {
	Key   string    `json:"key"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Value A         `json:"value"`
	Pane  int       `json:"pane"`
	ID    string    `json:"id"`

	Retract string `json:"retract,omitempty"`
	Flushed bool   `json:"flushed,omitempty"`
}

// MarshalJSON implements [json.Marshaler]:
// {"key":"ana","start":"2026-01-01T12:00:00Z","end":"2026-01-01T12:01:00Z","value":1,"pane":0,"id":"..."}. One
// that takes back another has "retract" with that one's id behind it, one that was flushed "flushed":true.
func (r Result[A]) MarshalJSON() ([]byte, error) {
	return stateful.JSONCodec{}.Append(nil, resultJSON[A]{r.Key, r.Window.Start.UTC(), r.Window.End.UTC(), r.Value, r.Pane, r.ID, r.Retract, r.Flushed})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *Result[A]) UnmarshalJSON(b []byte) error {
	var j resultJSON[A]
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*r = Result[A]{j.Key, Bounds{j.Start.UTC(), j.End.UTC()}, j.Value, j.Pane, j.ID, j.Retract, j.Flushed}
	return nil
}

// appendResultID appends the id of a result: 32 hexadecimal digits, the first half of a SHA-256.
// Every part of the digest's input has its length before it or is of fixed length. The id of
// what takes a result back is made of one byte more.
func appendResultID(b, scratch []byte, handler, key string, s window.Span, pane uint32, retract bool) (id, mem []byte) {
	scratch = append(binary.AppendUvarint(scratch[:0], uint64(len(handler))), handler...)
	scratch = append(binary.AppendUvarint(scratch, uint64(len(key))), key...)
	scratch = binary.BigEndian.AppendUint64(scratch, uint64(s.Start))
	scratch = binary.BigEndian.AppendUint64(scratch, uint64(s.End))
	scratch = binary.BigEndian.AppendUint32(scratch, pane)
	if retract {
		scratch = append(scratch, 1)
	}
	sum := sha256.Sum256(scratch)
	return hex.AppendEncode(b, sum[:16]), scratch
}

// appendSpanJSON appends the two bounds as they stand in a result's JSON.
func appendSpanJSON(b []byte, s window.Span) []byte {
	b = append(b, `"start":"`...)
	b = appendTime(b, s.Start)
	b = append(b, `","end":"`...)
	b = appendTime(b, s.End)
	return append(b, '"')
}

func appendTime(b []byte, ms int64) []byte {
	return time.UnixMilli(ms).UTC().AppendFormat(b, time.RFC3339Nano)
}

// appendJSONString appends s in quotes, escaped as encoding/json does without HTML.
func appendJSONString(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == 0x7f {
			return stateful.JSONCodec{}.Append(b, s)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"'), nil
}
