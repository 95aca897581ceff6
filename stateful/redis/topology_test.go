package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/remotetest"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
	"github.com/pondage/pondage/stateful/statefultest"
)

func sentinelConfig(s *testserver.Sentinels) redis.Config {
	c := closed("")
	c.URLs, c.MasterName = nil, s.Name
	for _, addr := range s.Addrs {
		c.URLs = append(c.URLs, "redis://"+addr)
	}
	return c
}

// A commit that replicas have survives the master's death.
func TestTheMasterDiesAmidCommits(t *testing.T) {
	t.Parallel()
	sentinels := testserver.NewSentinels(t)
	c := sentinelConfig(sentinels)
	c.Replicas, c.Index = 1, true
	b := open(t, c)
	h := remotetest.StartHammer(t, b)
	h.Await(50)
	old := sentinels.Master()
	old.Kill()
	sentinels.AwaitMaster(old)
	h.Await(50)
	h.Stop(false)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// A failover to a replica that had not got everything is refused.
func TestAFailoverThatLostWritesIsRefused(t *testing.T) {
	t.Parallel()
	sentinels := testserver.NewSentinels(t, "--enable-debug-command", "local")
	b := open(t, sentinelConfig(sentinels))
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1, put("a", "1"))
	master := sentinels.Nodes[0]
	// The replicas have commit 1 and will not get commit 2, not even out of the sockets' buffers.
	for _, replica := range sentinels.Nodes[1:] {
		want := master.Do("DEBUG DIGEST")
		for replica.Do("DEBUG DIGEST") != want {
			_ = clock.Sleep(ctx, time.Millisecond)
		}
		replica.Suspend()
	}
	master.Do("CLIENT KILL TYPE replica")
	mustCommit(t, s, 2, put("a", "2"))
	master.Kill()
	for _, replica := range sentinels.Nodes[1:] {
		replica.Resume()
	}
	sentinels.AwaitMaster(master)
	for {
		_, _, err := b.Open(ctx, task)
		if errors.Is(err, redis.ErrLost) {
			wantText(t, err, "commit 1 of epoch 1 is the last it has", "restore the server's data")
			break
		}
		if err == nil {
			t.Fatal("it was opened")
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestTooFewReplicasAreAnUnknownOutcome(t *testing.T) {
	c := impatient(testserver.NewRedis(t).Addr)
	b := open(t, c)
	mustOpen(t, b)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	c.Replicas = 1
	b = open(t, c)
	_, _, err := b.Open(ctx, task)
	wantText(t, err, "0 of 1 replicas have it")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	c.Cluster = true
	_, err = redis.New(ctx, c)
	wantText(t, err, "Replicas is 1", "min-replicas-to-write")
}

func clusterConfig(cluster *testserver.Cluster) redis.Config {
	c := closed("")
	c.URLs = []string{"redis://" + cluster.Nodes[0].Addr, "redis://" + cluster.Nodes[2].Addr}
	return c
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := testserver.NewCluster(t)
	t.Run("conforms", func(t *testing.T) {
		statefultest.TestBackend(t, func(t *testing.T) stateful.Backend {
			c := clusterConfig(cluster)
			c.Index = true
			return crashable{open(t, c), c}
		})
	})
	t.Run("a slot moves amid commits", func(t *testing.T) {
		for _, index := range []bool{false, true} {
			c := clusterConfig(cluster)
			c.Index = index
			b := open(t, c)
			h := remotetest.StartHammer(t, b)
			h.Await(20)
			key := c.Prefix + "{app:h:7}:s"
			at := cluster.Owner(key)
			for range 4 {
				to := (at + 1) % len(cluster.Nodes)
				cluster.Move(key, at, to, func() {})
				at = to
				h.Await(20)
			}
			h.Stop(false)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a node that evicts is found", func(t *testing.T) {
		cluster.Nodes[1].Do("CONFIG SET maxmemory-policy allkeys-lfu")
		defer cluster.Nodes[1].Do("CONFIG SET maxmemory-policy noeviction")
		_, err := redis.New(ctx, clusterConfig(cluster))
		wantText(t, err, cluster.Nodes[1].Addr, "allkeys-lfu")
	})
}
