package handlerstest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

func line(user string, n int) string { return fmt.Sprintf(`{"User":%q,"At":0,"N":%d}`, user, n) }

func wantEmitted(t *testing.T, d *handlerstest.Driver, topic string, want ...string) {
	t.Helper()
	if got := d.Emitted(topic); !slices.Equal(got, want) {
		t.Errorf("emitted to %s\n%s\nwant\n%s", topic, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSteps(t *testing.T) {
	ana := click{User: "ana"}
	for _, tt := range []struct {
		name string
		play func(d *handlerstest.Driver)
		want []string
	}{
		{"what is sent is processed", func(d *handlerstest.Driver) { d.Send(ana, ana) }, []string{line("ana", 1), line("ana", 2)}},
		{"a raw value is taken as it is", func(d *handlerstest.Driver) { d.Send([]byte(`{"User":"bo"}`)) }, []string{line("bo", 1)}},
		{"a record is taken as it is", func(d *handlerstest.Driver) { d.Send(stateful.Record{Value: []byte(`{"User":"bo"}`)}) }, []string{line("bo", 1)}},
		{"partitions are tasks of their own", func(d *handlerstest.Driver) {
			d.Send(ana)
			d.OnPartition(1).Send(ana)
			d.Send(ana)
		}, []string{line("ana", 1), line("ana", 1), line("ana", 2)}},
		{"a restart forgets nothing", func(d *handlerstest.Driver) {
			d.Send(ana)
			d.Restart()
			d.Send(ana)
		}, []string{line("ana", 1), line("ana", 2)}},
		{"what is delivered again is dropped", func(d *handlerstest.Driver) {
			d.Send(ana, ana, ana)
			d.Redeliver(2)
			d.Restart()
			d.Redeliver(100)
			d.Send(ana)
		}, []string{line("ana", 1), line("ana", 2), line("ana", 3), line("ana", 4)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, batch := range []int{0, 1} {
				d := handlerstest.New(t, clicks(), handlerstest.InBatchesOf(batch))
				tt.play(d)
				wantEmitted(t, d, "counts", tt.want...)
			}
		})
	}
}

func TestEveryCrashEndsInTheSameOutput(t *testing.T) {
	for _, p := range handlerstest.Points {
		t.Run(p.String(), func(t *testing.T) {
			d := handlerstest.New(t, clicks(), handlerstest.InBatchesOf(2))
			d.Send(click{User: "ana"})
			d.CrashAtNth(p, 2)
			d.Send(click{User: "ana"}, click{User: "bo"}, click{User: "ana"}, click{User: "ana"}, click{User: "bo"})
			if !d.Crashed() {
				t.Error("there was no crash")
			}
			wantEmitted(t, d, "counts", line("ana", 1), line("ana", 2), line("bo", 1), line("ana", 3), line("ana", 4), line("bo", 2))
		})
	}
}

func TestOutputsFlowOn(t *testing.T) {
	second := counter{name: "again", from: "counts", to: "twice"}
	for _, p := range append([]handlerstest.Point{0}, handlerstest.Points...) {
		t.Run(p.String(), func(t *testing.T) {
			d := handlerstest.New(t, clicks(), handlerstest.With(second))
			d.CrashAt(p)
			d.Send(click{User: "ana"}, click{User: "ana"})
			d.End()
			wantEmitted(t, d, "twice", line("ana", 1), line("ana", 2))
		})
	}
}

func TestClockFiresTimers(t *testing.T) {
	d := handlerstest.New(t, alarm{clicks()})
	d.Send(click{User: "ana"})
	d.Advance(9 * time.Second)
	wantEmitted(t, d, "counts", line("ana", 1))
	d.Restart()
	d.Advance(time.Second)
	wantEmitted(t, d, "counts", line("ana", 1), "ring")
	d.Advance(time.Hour)
	wantEmitted(t, d, "counts", line("ana", 1), "ring")
}

func TestFailuresAreDeadLettered(t *testing.T) {
	h := clicks()
	h.failOn = "bo"
	d := handlerstest.New(t, h)
	d.Send(click{User: "ana"}, click{User: "bo"}, []byte("{"), click{User: "ana"})
	wantEmitted(t, d, "counts", line("ana", 1), line("ana", 2))
	var got []string
	for _, l := range d.DeadLetters() {
		got = append(got, fmt.Sprintf("%s %s/%d %s: %s", l.Handler, l.Topic, l.Offset, l.Value, l.Reason))
	}
	want := []string{
		`count clicks/1 {"User":"bo","At":0}: cannot count it`,
		`count clicks/2 {: unexpected end of JSON input`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("dead letters %q, want %q", got, want)
	}
}

func TestDriverOnAUsedBackendReadsFromTheStart(t *testing.T) {
	b := memory.New()
	first := handlerstest.New(t, clicks(), handlerstest.On(b))
	first.Send(click{User: "ana"}, click{User: "ana"})
	first.Close()
	d := handlerstest.New(t, clicks(), handlerstest.On(b))
	d.Send(click{User: "ana"}, click{User: "ana"}, click{User: "ana"})
	wantEmitted(t, d, "counts", line("ana", 3))
}

func TestScript(t *testing.T) {
	d := handlerstest.New(t, alarm{clicks()}, handlerstest.With(counter{name: "again", from: "counts", to: "twice", failOn: "none"}))
	handlerstest.Script(t, d, "testdata/steps.txt", func(words []string) (any, error) {
		if len(words) != 1 {
			return nil, fmt.Errorf("a user, please")
		}
		return click{User: words[0]}, nil
	})
}
