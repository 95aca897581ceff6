package demo

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful/window"
)

const (
	tickEvery = 50 * time.Millisecond
	lineEvery = time.Second // where it is not a terminal
)

// progress shows how a run goes on: a bar on a terminal, lines elsewhere.
type progress struct {
	log   *embedded.Log
	track *tracker
	parts int
	total int64 // rows expected, 0 when unknown

	err   io.Writer
	child bool          // of --kill, which is told in lines of its own
	bars  *mpb.Progress // nil when not on a terminal
	bar   *mpb.Bar
	text  atomic.Pointer[string]

	start   time.Time
	before  int64         // results that were there at the start
	first   time.Duration // until the first result, 0 before
	work    sync.WaitGroup
	stopped context.CancelFunc
}

// Write shows p without disturbing the bar.
func (p *progress) Write(b []byte) (int, error) {
	if p.bars != nil {
		return p.bars.Write(b)
	}
	return p.err.Write(b)
}

func (p *progress) say(format string, args ...any) { printf(p, "pondage: "+format+"\n", args...) }

func startProgress(s *store, t *tracker, out Streams, total int64) *progress {
	p := &progress{log: s.log, track: t, parts: s.rec.Partitions, total: total, err: out.Err, start: time.Now()}
	p.child = child()
	p.before = p.results()
	p.text.Store(new(string))
	if out.Terminal && !p.child {
		p.bars = mpb.New(mpb.WithOutput(out.Err), mpb.WithWidth(24), mpb.WithRefreshRate(2*tickEvery))
		p.bar = p.bars.AddBar(max(total, 1),
			mpb.PrependDecorators(decor.Name("flights ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + *p.text.Load() })))
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stopped = cancel
	p.work.Go(func() { p.run(ctx) })
	return p
}

// stop leaves the last state on the screen.
func (p *progress) stop() {
	p.stopped()
	p.work.Wait()
	p.look()
	if p.bars == nil {
		return
	}
	if p.track.ended.Err() != nil {
		p.bar.SetTotal(-1, true)
	} else {
		p.bar.Abort(false)
	}
	p.bars.Wait()
	p.bars = nil
}

func (p *progress) run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	next := p.start.Add(lineEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			line := p.look()
			if p.child {
				_, all := p.track.counts()
				printf(p.err, "%s%d\n", childProgress, all)
			} else if p.bars == nil && !now.Before(next) {
				next = now.Add(lineEvery)
				p.say("%s", line)
			}
		}
	}
}

// look returns the state as one line and moves the bar.
func (p *progress) look() string {
	rows, processed := p.track.counts()
	stats, open := p.track.stats[0].Read(), 0
	for i := range p.track.stats {
		open += p.track.stats[i].Read().Open
	}
	elapsed := time.Since(p.start)
	results := p.results()
	if p.first == 0 && p.before == 0 && results > 0 {
		p.first = elapsed
	}
	mark := "-"
	switch stats.Watermark {
	case window.Never:
	case window.Forever:
		mark = "at the end"
	default:
		mark = time.UnixMilli(stats.Watermark).UTC().Format("2006-01-02 15:04")
	}
	if p.bar != nil {
		loaded := p.count(topicFlights)
		if p.total == 0 {
			p.bar.SetTotal(max(loaded, 1), false)
		}
		p.bar.SetCurrent(min(processed, max(loaded, p.total)))
	}
	line := fmt.Sprintf("%s  %s/s  watermark %s  open %s  late %s  results %s",
		thousands(processed), thousands(int64(float64(rows)/elapsed.Seconds())), mark,
		thousands(int64(open)), thousands(p.count(views[0].late)), thousands(results))
	p.text.Store(&line)
	return line
}

// results returns how many results there are, of all views.
func (p *progress) results() (n int64) {
	for _, v := range views {
		n += p.count(v.topic)
	}
	return n
}

// count returns how many records a topic has.
func (p *progress) count(topic string) int64 { return countRecords(p.log, topic, p.parts) }

func countRecords(log *embedded.Log, topic string, parts int) (n int64) {
	for i := range parts {
		// A topic that is gone has none.
		end, _ := log.EndOffset(topic, int32(i))
		n += end
	}
	return n
}

// thousands writes n with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// printf says something beside the results. That it cannot be said stops nothing.
func printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}
