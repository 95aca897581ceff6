package testserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/pondage/pondage/internal/clock"
)

// Proxy stands between a client and a server and is the network's bad days. It may be used
// by several goroutines.
type Proxy struct {
	Addr string

	target string
	l      net.Listener
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu    sync.Mutex
	mode  Mode
	turn  chan struct{} // closed when the mode changes
	links map[*link]bool
	dials int
}

// Mode is what a [Proxy] does to what passes from now on.
type Mode struct {
	Latency     time.Duration // each piece, in either direction, waits this long
	HoldUp      bool          // what the client sends waits; it is delivered later, also when the client has gone by then
	HoldDown    bool          // what the server answers waits
	CutAnswers  float64       // the share of requests that get through but instead of an answer the client is reset
	RefuseDials bool          // connections are reset as soon as they are made
}

type link struct{ client, server *net.TCPConn }

// NewProxy returns a proxy in front of target, until the test ends. It lets everything pass.
func NewProxy(tb TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, l: l, turn: make(chan struct{}), links: map[*link]bool{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.all.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.cancel()
		p.Reset()
		p.all.Wait()
	})
	return p
}

// Set changes what happens to what passes.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	close(p.turn)
	p.turn = make(chan struct{})
}

// Reset breaks all connections there are.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Links returns how many connections there are.
func (p *Proxy) Links() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Dials returns how many connections clients have asked for.
func (p *Proxy) Dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

func (l *link) reset() {
	for _, c := range []*net.TCPConn{l.client, l.server} {
		_ = c.SetLinger(0) // so that it is a reset, not an end
		_ = c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		client := c.(*net.TCPConn)
		p.mu.Lock()
		p.dials++
		p.mu.Unlock()
		if p.now().RefuseDials {
			_ = client.SetLinger(0)
			_ = client.Close()
			continue
		}
		s, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.SetLinger(0)
			_ = client.Close()
			continue
		}
		l := &link{client, s.(*net.TCPConn)}
		p.mu.Lock()
		p.links[l] = true
		p.mu.Unlock()
		p.all.Go(func() { p.serve(l) })
	}
}

func (p *Proxy) serve(l *link) {
	var both sync.WaitGroup
	both.Go(func() {
		p.pump(l, l.server, l.client, true)
		_ = l.server.CloseWrite()
	})
	both.Go(func() {
		p.pump(l, l.client, l.server, false)
		_ = l.client.Close()
	})
	both.Wait()
	_ = l.server.Close()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

func (p *Proxy) pump(l *link, to, from *net.TCPConn, up bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && p.pass(l, up) == nil {
			if _, e := to.Write(buf[:n]); e != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) now() Mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

var errCut = errors.New("cut")

// pass waits until a piece may go on.
func (p *Proxy) pass(l *link, up bool) error {
	for {
		p.mu.Lock()
		m, turn := p.mode, p.turn
		p.mu.Unlock()
		if !up && rand.Float64() < m.CutAnswers {
			l.reset()
			return errCut
		}
		if m.Latency > 0 && clock.Sleep(p.ctx, m.Latency) != nil {
			return errCut
		}
		if up && !m.HoldUp || !up && !m.HoldDown {
			return nil
		}
		select {
		case <-turn:
		case <-p.ctx.Done():
			return errCut
		}
	}
}
