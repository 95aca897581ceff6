package testserver

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// Cluster is a Redis Cluster of three masters.
type Cluster struct {
	Nodes []*Redis
	tb    TB
}

const (
	slots = 16384
	// busAbove is what a node's port and that of its bus differ by.
	busAbove = 10_000
)

// NewCluster starts one. It ends with the test. args are added to the configuration.
func NewCluster(tb TB, args ...string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	for range 3 {
		c.Nodes = append(c.Nodes, newRedis(tb, freeClusterPort, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000"}, args...)))
	}
	for i, n := range c.Nodes {
		if got := n.Do(fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/3, (i+1)*slots/3-1)); got != "OK" {
			tb.Fatalf("%s", got)
		}
		n.Do(fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
		host, port, _ := net.SplitHostPort(c.Nodes[0].Addr)
		if i > 0 {
			n.Do("CLUSTER MEET " + host + " " + port)
		}
	}
	eventually(tb, "the Cluster is whole", func() bool {
		return !slices.ContainsFunc(c.Nodes, func(n *Redis) bool {
			info := n.Do("CLUSTER INFO")
			return !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")
		})
	})
	return c
}

// freeClusterPort returns a free port whose bus's is free, too.
func freeClusterPort() (int, error) {
	for {
		port, err := freePort()
		if err != nil {
			return 0, err
		}
		if port > busAbove {
			port -= busAbove
		}
		if port+busAbove < 65536 && isFree(port) && isFree(port+busAbove) {
			return port, nil
		}
	}
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// Owner returns which node has the slot of a key.
func (c *Cluster) Owner(key string) int {
	c.tb.Helper()
	slot := c.Nodes[0].Do("CLUSTER KEYSLOT " + key)
	for i, n := range c.Nodes {
		// A node that does not have the slot answers MOVED.
		if n.Do("EXISTS "+key) != "" && !strings.HasPrefix(n.Do("EXISTS "+key), "MOVED "+slot) {
			return i
		}
	}
	c.tb.Fatalf("nobody has slot %s", slot)
	return -1
}

// Move moves the slot of a key, and all keys in it, from one node to another, as a resharding does: key
// by key, while clients work. between is called after each key and before the move is announced.
func (c *Cluster) Move(key string, from, to int, between func()) {
	c.tb.Helper()
	slot := c.Nodes[0].Do("CLUSTER KEYSLOT " + key)
	src, dst := c.Nodes[from], c.Nodes[to]
	srcID, dstID := src.Do("CLUSTER MYID"), dst.Do("CLUSTER MYID")
	c.ok(dst, "CLUSTER SETSLOT "+slot+" IMPORTING "+srcID)
	c.ok(src, "CLUSTER SETSLOT "+slot+" MIGRATING "+dstID)
	host, port, _ := net.SplitHostPort(dst.Addr)
	for {
		name := src.Do("CLUSTER GETKEYSINSLOT " + slot + " 1")
		if name == "" {
			break
		}
		c.ok(src, "MIGRATE "+host+" "+port+" "+name+" 0 5000")
		between()
	}
	for _, n := range []*Redis{dst, src} {
		c.ok(n, "CLUSTER SETSLOT "+slot+" NODE "+dstID)
	}
}

func (c *Cluster) ok(n *Redis, command string) {
	c.tb.Helper()
	if got := n.Do(command); got != "OK" && got != "NOKEY" {
		c.tb.Fatalf("%s: %s", command, got)
	}
}
