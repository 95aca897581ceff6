package testserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pondage/pondage/internal/clock"
)

// Sentinels are three Sentinels over a master and two replicas.
type Sentinels struct {
	Name  string   // of the master
	Addrs []string // of the Sentinels
	Nodes []*Redis // the first is the master at the beginning
	tb    TB
}

// NewSentinels starts them. They end with the test. args are added to the configuration of the data servers.
func NewSentinels(tb TB, args ...string) *Sentinels {
	tb.Helper()
	s := &Sentinels{Name: "state", tb: tb}
	for range 3 {
		nodeArgs := args
		if len(s.Nodes) > 0 {
			host, port, _ := net.SplitHostPort(s.Nodes[0].Addr)
			nodeArgs = append([]string{"--replicaof", host, port, "--repl-diskless-sync-delay", "0"}, args...)
		}
		s.Nodes = append(s.Nodes, NewRedis(tb, append([]string{"--repl-diskless-sync-delay", "0"}, nodeArgs...)...))
	}
	eventually(tb, "the replicas follow", func() bool {
		info := s.Nodes[0].Do("INFO replication")
		return strings.Count(info, "state=online") == 2
	})
	ports := make([]int, 3)
	for i := range ports {
		port, err := freePort()
		if err != nil {
			tb.Fatalf("%v", err)
		}
		ports[i] = port
		s.Addrs = append(s.Addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	for i := range ports {
		s.start(i, ports)
	}
	eventually(tb, "the Sentinels know each other", func() bool {
		for _, addr := range s.Addrs {
			if answer, err := askOnce(addr, "SENTINEL CKQUORUM "+s.Name); err != nil || !strings.HasPrefix(answer, "OK 3 ") {
				return false
			}
		}
		return true
	})
	return s
}

func (s *Sentinels) start(i int, ports []int) {
	path, err := program("redis-server", "redis-server", "")
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
	id := func(i int) string { return fmt.Sprintf("%040d", i+1) }
	var conf strings.Builder
	fmt.Fprintf(&conf, "bind 127.0.0.1\nport %d\nsentinel myid %s\n", ports[i], id(i))
	host, port, _ := net.SplitHostPort(s.Nodes[0].Addr)
	fmt.Fprintf(&conf, "sentinel monitor %s %s %s 2\n", s.Name, host, port)
	fmt.Fprintf(&conf, "sentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 3000\n", s.Name)
	for _, n := range s.Nodes[1:] {
		host, port, _ := net.SplitHostPort(n.Addr)
		fmt.Fprintf(&conf, "sentinel known-replica %s %s %s\n", s.Name, host, port)
	}
	for j, p := range ports {
		if j != i {
			fmt.Fprintf(&conf, "sentinel known-sentinel %s 127.0.0.1 %d %s\n", s.Name, p, id(j))
		}
	}
	dir := s.tb.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		s.tb.Fatalf("%v", err)
	}
	p := &process{path: path, args: []string{file, "--sentinel"}, dir: dir, ready: func() error { return pingRedis(s.Addrs[i]) }}
	if err := p.start(); err != nil {
		s.tb.Fatalf("%v", err)
	}
	s.tb.Cleanup(p.kill)
}

// Master returns the one that runs and says that it is the master; nil while there is none, or several.
func (s *Sentinels) Master() *Redis {
	var master *Redis
	for _, n := range s.Nodes {
		if answer, err := askOnce(n.Addr, "ROLE"); err == nil && answer == "master" {
			if master != nil {
				return nil
			}
			master = n
		}
	}
	return master
}

// AwaitMaster waits until another than old is the master and returns it.
func (s *Sentinels) AwaitMaster(old *Redis) *Redis {
	s.tb.Helper()
	var now *Redis
	eventually(s.tb, "another is the master", func() bool {
		now = s.Master()
		return now != nil && now != old
	})
	return now
}

func eventually(tb TB, what string, f func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startsWithin)
	defer cancel()
	for !f() {
		if clock.Sleep(ctx, 20*time.Millisecond) != nil {
			tb.Fatalf("waited %v in vain: %s", startsWithin, what)
		}
	}
}
