package handlers_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

// added adds handlers over a backend and returns what was logged.
func added(t *testing.T, b stateful.Backend, change func(*stateful.Config), all ...stateful.Handler) (logged string, err error) {
	t.Helper()
	var log bytes.Buffer
	c := stateful.Config{App: "test", Backend: b, Outbox: &sink{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if change != nil {
		change(&c)
	}
	p, err := stateful.NewProcessor(c)
	if err != nil {
		t.Fatal(err)
	}
	err = p.AddTo(nil, all...)
	if e := p.Close(context.Background()); e != nil {
		t.Fatal(e)
	}
	return log.String(), err
}

// says requires that text has all words, and that it is empty without any.
func says(t *testing.T, what, text string, words []string) {
	t.Helper()
	if len(words) == 0 && text != "" {
		t.Errorf("%s: %q, want nothing", what, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q does not mention %q", what, text, w)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAPlanIsCheckedWhenItIsAdded(t *testing.T) {
	type W = handlers.Window[event, int]
	merge := func(a, b int) (int, error) { return a + b, nil }
	for _, tt := range []struct {
		name    string
		change  func(*W)
		config  func(*stateful.Config)
		refused []string
		warned  []string
	}{
		{name: "windows that fit are silent"},
		{
			name:    "a day every second is refused with the number and the way out",
			change:  func(w *W) { w.Windows = window.Sliding(24*time.Hour, time.Second) },
			refused: []string{"in 86400 of them", "10000 open ones (Limits.WindowsPerKey)", "the slide 8.64s or more", "the size 2h46m40s or less"},
		},
		{
			name:   "what the limit allows is not",
			change: func(w *W) { w.Windows = window.Sliding(10_000*time.Second, time.Second) },
			warned: []string{"folded into 10000 of them", "set Merge"},
		},
		{
			name:    "the limit is the processor's",
			change:  func(w *W) { w.Windows = window.Sliding(time.Minute, time.Second) },
			config:  func(c *stateful.Config) { c.Limits.WindowsPerKey = 59 },
			refused: []string{"in 60 of them", "59 open ones"},
		},
		{name: "many that are merged from slices are silent", change: func(w *W) { w.Windows, w.Merge = window.Sliding(time.Hour, time.Second), merge }},
		{
			name: "many that a trigger keeps something of are not",
			change: func(w *W) {
				w.Windows, w.Merge, w.Emit = window.Sliding(time.Hour, time.Second), merge, handlers.Retracting
			},
			warned: []string{"folded into 3600 of them"},
		},
		{name: "few windows of an event are silent", change: func(w *W) { w.Windows = window.Sliding(99*time.Second, time.Second) }},
		{
			name:   "many results of an event are a warning",
			change: func(w *W) { w.Windows, w.Trigger = window.Sliding(time.Hour, time.Second), handlers.EveryN(10) },
			warned: []string{"in 3600 windows, so it gives 360 results"},
		},
		{name: "sessions without Merge are refused", change: func(w *W) { w.Windows = window.Session(time.Second) }, refused: []string{"Merge is required"}},
		{name: "sessions with it are silent", change: func(w *W) { w.Windows, w.Merge = window.Session(time.Second), merge }},
		{
			name: "a delay in which a key has more windows than it may",
			change: func(w *W) {
				w.Windows, w.MaxDelay, w.AllowedLateness = window.Tumbling(time.Second), 2*time.Hour, time.Hour
			},
			warned: []string{"has 10802 open windows", "may have 10000 (Limits.WindowsPerKey)", "dead-lettered", "shorten MaxDelay"},
		},
		{
			name: "sessions as well",
			change: func(w *W) {
				w.Windows, w.Merge, w.AllowedLateness = window.Session(time.Millisecond), merge, 10*time.Second
			},
			warned: []string{"has 10002 open windows"},
		},
		{
			name:   "a global window without a trigger",
			change: func(w *W) { w.Windows = window.Global() },
			warned: []string{"no end but that of all input", "set EveryN"},
		},
		{name: "with one it is silent", change: func(w *W) { w.Windows, w.Trigger = window.Global(), handlers.EveryUpdate() }},
		{
			name:   "lateness without effect",
			change: func(w *W) { w.Windows, w.AllowedLateness = window.Count(3), time.Second },
			warned: []string{"AllowedLateness 1s has no effect"},
		},
		{
			name:   "results more often than the clock is looked at",
			change: func(w *W) { w.Trigger = handlers.Every(100 * time.Millisecond) },
			warned: []string{"every 100ms", "every 1s (Config.TickEvery)"},
		},
		{
			name:   "results by a clock that nobody looks at",
			change: func(w *W) { w.Trigger = handlers.Every(time.Minute) },
			config: func(c *stateful.Config) { c.TickEvery = -1 },
			warned: []string{"while Config.TickEvery is negative"},
		},
		{
			name: "everything at once",
			change: func(w *W) {
				w.Key, w.To, w.Windows = nil, "", window.Session(0)
			},
			refused: []string{"Key is required", "the gap of sessions is 0s", "an output topic is empty"},
		},
		{
			name: "the plan of what has other faults",
			change: func(w *W) {
				w.Key, w.Windows = nil, window.Sliding(24*time.Hour, time.Second)
			},
			refused: []string{"Key is required", "86400"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := counting()
			if tt.change != nil {
				tt.change(&w)
			}
			log, err := added(t, memory.New(), tt.config, w)
			says(t, "refused", text(err), tt.refused)
			says(t, "warned", log, tt.warned)
		})
	}
}

// Faults of all handlers come at once, those of their plans too.
func TestPlansOfAllHandlersAreCheckedAtOnce(t *testing.T) {
	a, b, c := counting(), counting(), counting()
	a.Windows = window.Sliding(24*time.Hour, time.Second)
	b.Name, b.Key = "b", nil
	c.Name, c.Windows = "c", window.Sliding(time.Hour, 100*time.Millisecond)
	_, err := added(t, memory.New(), nil, a, b, c)
	says(t, "refused", text(err), []string{`handler "counts"`, "in 86400", `handler "b"`, "Key is required", `handler "c"`, "in 36000"})
}

type (
	countsV1 struct {
		N    int
		Sum  int32 `json:"sum"`
		Tags []string
	}
	countsRenamed struct { // another type and order, wider numbers, a field more
		Tags []string
		More map[string]int
		Sum  int64 `json:"sum"`
		N    uint
	}
	countsLess struct {
		N   int
		Sum int `json:"sum"`
	}
	countsRetyped struct {
		N    string
		Sum  float64 `json:"sum"`
		Tags map[string]string
	}
)

func windowOf[A any](change func(*handlers.Window[event, A])) stateful.Handler {
	w := handlers.Window[event, A]{
		Name: "counts", From: "events", To: "counts", Windows: window.Tumbling(10 * ms), MaxDelay: 5 * ms,
		Key: func(e event) string { return e.Key }, Time: func(e event) time.Time { return time.UnixMilli(e.At) },
		Fold:  func(a A, _ event) (A, error) { return a, nil },
		Merge: func(a, _ A) (A, error) { return a, nil },
	}
	if change != nil {
		change(&w)
	}
	return w
}

func keyedOf[S any](change func(*handlers.Keyed[event, S])) stateful.Handler {
	k := handlers.Keyed[event, S]{
		Name: "counts", From: "events", To: "counts",
		Key: func(e event) string { return e.Key }, Time: func(e event) time.Time { return time.UnixMilli(e.At) },
		OnEvent: func(_ context.Context, c *handlers.Context[S], _ event) error {
			var s S
			c.Put(s)
			return nil
		},
	}
	if change != nil {
		change(&k)
	}
	return k
}

// A handler that was changed meets the state that it had stored: at AddTo, and when a task is opened where the
// backend does not let others look.
func TestAChangedHandlerMeetsItsState(t *testing.T) {
	type W = handlers.Window[event, countsV1]
	type K = handlers.Keyed[event, countsV1]
	listOf := func(name string) stateful.State { return &stateful.List[int]{Name: name} }
	is := func(h stateful.Handler) stateful.Handler { return h }
	plain, keyed := windowOf[countsV1](nil), keyedOf(func(k *K) { k.States = []stateful.State{listOf("seen")} })
	for _, tt := range []struct {
		name    string
		was, is stateful.Handler
		refused []string
		warned  []string
	}{
		{name: "nothing changed", was: plain, is: plain},
		{name: "allowed lateness", was: plain, is: windowOf(func(w *W) { w.AllowedLateness = time.Second })},
		{name: "the delay of the watermark", was: plain, is: windowOf(func(w *W) { w.MaxDelay = 0 })},
		{name: "the trigger", was: plain, is: windowOf(func(w *W) { w.Trigger = handlers.EveryN(3) })},
		{name: "topics of outputs", was: plain, is: windowOf(func(w *W) { w.To, w.LateTo = "results", "late" })},
		{name: "the format of state", was: plain, is: windowOf(func(w *W) { w.State.Format = stateful.JSON })},
		{name: "an offset that changes nothing", was: plain, is: windowOf(func(w *W) { w.Windows = window.Tumbling(10 * ms).Offset(20 * ms) })},
		{
			name: "the size of windows", was: plain, is: windowOf(func(w *W) { w.Windows = window.Tumbling(20 * ms) }),
			refused: []string{`windows: stored is "tumbling 10ms offset 0s", and now it is "tumbling 20ms offset 0s"`, "set it back", "another Name"},
		},
		{
			name: "the kind of windows", was: plain, is: windowOf(func(w *W) { w.Windows = window.Session(10 * ms) }),
			refused: []string{`now it is "session gap 10ms"`},
		},
		{
			name: "how results relate", was: plain, is: windowOf(func(w *W) { w.Emit = handlers.Discarding }),
			refused: []string{`results: stored is "accumulating", and now it is "discarding"`},
		},
		{name: "the type of values, in what does not matter", was: plain, is: windowOf[countsRenamed](nil)},
		{
			name: "a field that is gone", was: plain, is: windowOf[countsLess](nil),
			warned: []string{"values/Tags is not read any more", "Migrate"},
		},
		{
			name: "fields of other types", was: plain, is: windowOf[countsRetyped](nil),
			refused: []string{
				`values/N: stored is "integer", and now it is "string"`, `values/sum: stored is "integer", and now it is "float"`,
				`values/Tags: stored is "list", and now it is "map"`, "State.Version", "Migrate",
			},
		},
		{name: "a value of another kind", was: plain, is: windowOf[int](nil), refused: []string{`values: stored is "fields", and now it is "integer"`}},
		{
			name: "one that is migrated", was: plain, is: windowOf(func(w *handlers.Window[event, int]) {
				w.State.Version = 2
				w.State.Migrate = func(uint32, func(any) error) (int, error) { return 0, nil }
			}),
		},
		{
			name: "an older build", was: windowOf(func(w *W) { w.State.Version = 2 }), is: plain,
			refused: []string{"version 2 and this build has 1", "deploy the newer build"},
		},
		{
			name: "the parts of All",
			was:  windowOf(func(w *handlers.Window[event, handlers.Values]) { w.Fold, w.Merge, w.Aggregate = nil, nil, allOf(1) }),
			is:   windowOf(func(w *handlers.Window[event, handlers.Values]) { w.Fold, w.Merge, w.Aggregate = nil, nil, allOf(2) }),
			refused: []string{
				`values/All: stored is "count, max", and now it is "count, min"`,
			},
		},
		{
			name: "several changes at once", was: plain, is: windowOf(func(w *handlers.Window[event, int]) {
				w.Windows, w.Emit = window.Sliding(10*ms, 5*ms), handlers.Retracting
			}),
			refused: []string{"windows:", "results:", "values:"},
		},
		{name: "a window is no function per event", was: plain, is: keyed, refused: []string{`handler: stored is "Window", and now it is "Keyed"`}},
		{name: "Keyed: another type of the state", was: keyed, is: keyedOf[int](nil), refused: []string{`values of keyed: stored is "fields"`}},
		{name: "Keyed: a state less, a state more", was: keyed, is: keyedOf(func(k *K) { k.States = []stateful.State{listOf("more")} })},
		{
			name: "Keyed: a state of another shape", was: keyed,
			is:      keyedOf(func(k *K) { k.States = []stateful.State{&stateful.Map[string, int]{Name: "seen"}} }),
			refused: []string{`state seen: stored is "list", and now it is "map by string"`},
		},
		{
			name: "Keyed: another clock", was: keyedOf(func(k *K) { k.TTL = time.Hour }),
			is:      keyedOf(func(k *K) { k.TTL, k.Clock = time.Hour, stateful.ProcessingTime }),
			refused: []string{`clock of keyed: stored is "event time"`},
		},
		{name: "Keyed: another time to live", was: keyedOf(func(k *K) { k.TTL = time.Hour }), is: is(keyedOf(func(k *K) { k.TTL = time.Minute }))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := memory.New()
			store(t, b, tt.was)
			log, err := added(t, b, nil, tt.is)
			says(t, "refused", text(err), tt.refused)
			if err != nil {
				says(t, "refused", text(err), []string{"of 1 task: "})
			}
			says(t, "warned", log, tt.warned)

			e := engineOf(t, struct{ stateful.Backend }{b}, tt.is)
			e.offset = 2
			err = e.try(at("a@4")...)
			says(t, "opened", text(err), tt.refused)
			if len(tt.refused) > 0 && err == nil {
				t.Error("the task was opened")
			}
			if len(tt.refused) == 0 && err != nil {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

func allOf(n int) handlers.Aggregate[event, handlers.Values] {
	of := func(e event) float64 { return e.N }
	last := handlers.Max(of)
	if n == 2 {
		last = handlers.Min(of)
	}
	return handlers.All(handlers.Count[event](), last)
}

// engineOf is an engine over a backend.
func engineOf(t *testing.T, b stateful.Backend, h stateful.Handler) *engine {
	return newEngine(t, h, func(c *stateful.Config) { c.Backend = b })
}

// store has the handler store something.
func store(t *testing.T, b stateful.Backend, h stateful.Handler) {
	t.Helper()
	e := engineOf(t, b, h)
	e.send(at("a@1", "b@2")...)
	if err := e.p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestARenamedHandlerIsAWarning(t *testing.T) {
	named := func(name string) stateful.Handler {
		return windowOf(func(w *handlers.Window[event, countsV1]) { w.Name = name })
	}
	for _, tt := range []struct {
		name   string
		add    []stateful.Handler
		warned []string
	}{
		{"under its own name it is silent", []stateful.Handler{named("counts")}, nil},
		{"under another", []stateful.Handler{named("totals")}, []string{"handler=totals", "starts empty", `1 task of a handler \"counts\"`, "old Name"}},
		{"beside it a new one is silent", []stateful.Handler{named("totals"), named("counts")}, nil},
		{"one of another kind is new", []stateful.Handler{windowOf(func(w *handlers.Window[event, int]) { w.Name = "totals" })}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := memory.New()
			store(t, b, named("counts"))
			log, err := added(t, b, nil, tt.add...)
			if err != nil {
				t.Fatal(err)
			}
			says(t, "warned", log, tt.warned)
		})
	}
}

// State from before there were schemas gets one with its next commit.
func TestStateWithoutASchemaGetsOne(t *testing.T) {
	b := memory.New()
	store(t, b, noSchema{windowOf[countsV1](nil)})
	for p, err := range b.Peek(t.Context(), "test", "h") {
		if err != nil || p.Value != nil {
			t.Fatalf("the test is wrong: %v, %v", p, err)
		}
	}
	if _, err := added(t, b, nil, windowOf[countsV1](nil)); err != nil {
		t.Fatal(err)
	}
	e := engineOf(t, b, windowOf[countsV1](nil))
	e.offset = 2
	e.send(at("a@3")...)
	if _, err := added(t, b, nil, windowOf[int](nil)); err == nil || !strings.Contains(err.Error(), `values: stored is "fields"`) {
		t.Errorf("AddTo = %v, want a refusal", err)
	}
}

// noSchema is a handler as it was before there were plans.
type noSchema struct{ stateful.Handler }

func (h noSchema) Outputs() []string { return h.Handler.(stateful.Outputter).Outputs() }

func (h noSchema) Instance(ctx context.Context, t *stateful.Task) (stateful.Handler, error) {
	return h.Handler.(stateful.Instancer).Instance(ctx, t)
}

// A backend that cannot be looked at now is no reason to refuse: the task finds out.
func TestABackendThatDoesNotAnswerIsAWarning(t *testing.T) {
	log, err := added(t, mute{memory.New()}, nil, windowOf[int](nil))
	if err != nil {
		t.Fatal(err)
	}
	says(t, "warned", log, []string{"look at the stored state", "no answer"})
}

type mute struct{ *memory.Backend }

func (mute) Peek(context.Context, string, string) iter.Seq2[stateful.Peeked, error] {
	return func(yield func(stateful.Peeked, error) bool) { yield(stateful.Peeked{}, errors.New("no answer")) }
}
