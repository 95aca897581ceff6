package handlerstest

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pondage/pondage/stateful"
)

// The name is what `go test -update` asks for; a package that has such a flag of
// its own shares it by looking it up.
func init() {
	if flag.Lookup("update") == nil {
		flag.Bool("update", false, "write the expected outputs of handlerstest scripts")
	}
}

func updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// Script plays the file at path on d and compares what every step emits with the lines
// below it that begin with ">": those are written by `go test -update` and reviewed as a
// diff. event makes the event of a send from its words. A step is one of
//
//	send WORD...            an event to the first input
//	sendto TOPIC WORD...    an event to an input
//	partition N             what follows goes to this partition
//	advance DURATION|TIME   moves the clock by 90s, or to 12:03:00 of its day
//	redeliver N             see Redeliver
//	restart                 see Restart
//	crash POINT             see CrashAt; the names are those of Point.String
//	end                     see End
//
// Empty lines and those that begin with # say nothing. Where handlers emit to several
// topics an output is `> topic: payload`.
func Script(t T, d *Driver, path string, event func(words []string) (any, error)) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
		return
	}
	got, err := d.play(file, event)
	if err != nil {
		t.Fatalf("%s:%v", path, err)
		return
	}
	if bytes.Equal(got, file) {
		return
	}
	if updating() {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("%s: %s\nif that is right, run: go test -update", path, firstDifference(string(file), string(got)))
}

// play returns the script with the outputs it has now.
func (d *Driver) play(file []byte, event func([]string) (any, error)) ([]byte, error) {
	var out bytes.Buffer
	many := len(d.outputs()) > 1
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, 1<<20)
	seen := d.seen()
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if strings.HasPrefix(line, ">") {
			continue
		}
		out.WriteString(line + "\n")
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		view, err := d.step(words, event)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
		d = view
		for _, e := range d.since(seen) {
			if many {
				fmt.Fprintf(&out, "> %s: %s\n", e.topic, e.payload)
			} else {
				fmt.Fprintf(&out, "> %s\n", e.payload)
			}
		}
		seen = d.seen()
	}
	return out.Bytes(), lines.Err()
}

// step does one line and returns the view that the next one uses.
func (d *Driver) step(words []string, event func([]string) (any, error)) (*Driver, error) {
	d.t.Helper()
	do, args := words[0], words[1:]
	want := map[string]int{"partition": 1, "advance": 1, "redeliver": 1, "crash": 1, "restart": 0, "end": 0}
	if n, ok := want[do]; ok && len(args) != n {
		return d, fmt.Errorf("%s takes %d words, not %d", do, n, len(args))
	}
	var err error
	n := 0
	switch do {
	case "send", "sendto":
		topic := d.handlers[0].Inputs()[0]
		if do == "sendto" {
			if len(args) == 0 {
				return d, fmt.Errorf("sendto takes a topic")
			}
			topic, args = args[0], args[1:]
		}
		var e any
		if e, err = event(args); err == nil {
			d.SendTo(topic, e)
		}
	case "partition":
		if n, err = strconv.Atoi(args[0]); err == nil {
			d = d.OnPartition(int32(n))
		}
	case "advance":
		var by time.Duration
		if by, err = d.until(args[0]); err == nil {
			d.Advance(by)
		}
	case "redeliver":
		if n, err = strconv.Atoi(args[0]); err == nil {
			d.Redeliver(n)
		}
	case "crash":
		i := slices.IndexFunc(Points, func(p Point) bool { return p.String() == args[0] })
		if i < 0 {
			return d, fmt.Errorf("there is no point %q, only %v", args[0], Points)
		}
		d.CrashAt(Points[i])
	case "restart":
		d.Restart()
	case "end":
		d.End()
	default:
		return d, fmt.Errorf("%q is not a step", do)
	}
	return d, err
}

// until reads a duration, or a time of the clock's day.
func (d *Driver) until(word string) (time.Duration, error) {
	if by, err := time.ParseDuration(word); err == nil {
		return by, nil
	}
	at, err := time.Parse(time.TimeOnly, word)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a duration nor a time of day", word)
	}
	y, m, day := d.now.Date()
	to := time.Date(y, m, day, at.Hour(), at.Minute(), at.Second(), 0, d.now.Location())
	if to.Before(d.now) {
		return 0, fmt.Errorf("the clock is at %s already", d.now.Format(time.TimeOnly))
	}
	return to.Sub(d.now), nil
}

func (d *Driver) outputs() []string {
	topics := []string{}
	for _, h := range d.handlers {
		if o, ok := h.(stateful.Outputter); ok {
			for _, topic := range o.Outputs() {
				if !slices.Contains(topics, topic) {
					topics = append(topics, topic)
				}
			}
		}
	}
	return topics
}

type emitted struct{ topic, payload string }

func (d *Driver) seen() int { return len(d.broker.order) }

// since returns what was emitted after the first seen records.
func (d *Driver) since(seen int) []emitted {
	at := make(map[stateful.Partition]int)
	outputs := append(d.outputs(), d.deadLetters)
	var out []emitted
	for i, p := range d.broker.order {
		rec := &(*d.broker.log(p))[at[p]]
		at[p]++
		if i >= seen && slices.Contains(outputs, p.Topic) {
			out = append(out, emitted{p.Topic, string(rec.Value)})
		}
	}
	return out
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d is\n\t%s\nand should be\n\t%s", i+1, b, a)
		}
	}
	return "only its end differs"
}
