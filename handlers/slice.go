package handlers

import (
	"fmt"
	"strings"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// slicing cuts sliding windows into slices: spans in which no window begins or ends, so that
// every window is made of whole ones. Slices have numbers, in order of time and without gaps.
type slicing struct {
	window.SlidingWindows
	base  int64 // a time at which a window begins
	twice bool  // there are two slices in a slide, and not one
}

func slicingOf(w window.SlidingWindows) slicing {
	return slicing{w, w.Newest(0).Start, w.Size()%w.Slide() != 0}
}

// number returns the number of the slice that begins at start.
func (s *slicing) number(start int64) int64 {
	from := s.Newest(start).Start
	n := (from - s.base) / s.Slide()
	if !s.twice {
		return n
	}
	if n *= 2; from != start {
		n++
	}
	return n
}

// slicedWindow is a window in numbers of slices: it has those of [from, to), of which those below goes are in none after
// it.
type slicedWindow struct {
	end            int64
	from, to, goes int64
}

// windowTo returns the window that ends at end.
func (s *slicing) windowTo(end int64) slicedWindow {
	w := slicedWindow{end: end, from: s.number(end - s.Size()), to: s.number(end)}
	if w.goes = w.from + 1; s.twice {
		w.goes++
	}
	return w
}

// after returns the end of the first window that ends after t.
func (s *slicing) after(t int64) int64 { return s.Oldest(t).End }

// The keys of the tables of slices are an event's key, a zero byte, and a time: in byte order, they are in order of
// event's key and time. In the event's key a zero byte is followed by 0xff, which no time begins with.

func appendSliceName(b []byte, key string, t int64) []byte {
	return stateful.AppendOrdered(append(appendEscaped(b, key), 0), t)
}

func appendEscaped(b []byte, key string) []byte {
	for {
		i := strings.IndexByte(key, 0)
		if i < 0 {
			return append(b, key...)
		}
		b = append(append(b, key[:i]...), 0, 0xff)
		key = key[i+1:]
	}
}

// behindKey returns what comes behind all names of an escaped key.
func behindKey(b []byte, escaped string) []byte { return append(append(b, escaped...), 0, 0xff) }

// parseSliceName returns the escaped key and the time.
func parseSliceName(name string) (escaped string, t int64, err error) {
	n := len(name) - endBytes - 1
	if n < 0 || name[n] != 0 {
		return "", 0, stateful.TaskFault(fmt.Errorf("slices have the name %x, which is none: the stored state is damaged", name))
	}
	return name[:n], stateful.ParseOrdered(name[n+1:]), nil
}

// unescaped returns the key as it was.
func unescaped(escaped string) string {
	if strings.IndexByte(escaped, 0) < 0 {
		return escaped
	}
	return strings.ReplaceAll(escaped, "\x00\xff", "\x00")
}
