package redis

import (
	"context"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// checkServer refuses a server that would lose what it is given, each master of a Cluster.
func (b *Backend) checkServer(ctx context.Context) error {
	return b.guard.Again(ctx, func() error {
		if c, ok := b.client.(*goredis.ClusterClient); ok {
			return c.ForEachMaster(ctx, func(ctx context.Context, c *goredis.Client) error { return b.checkNode(ctx, c, c.Options().Addr) })
		}
		return b.checkNode(ctx, b.client, "the server")
	})
}

func (b *Backend) checkNode(ctx context.Context, c goredis.Cmdable, name string) error {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return fmt.Errorf("ask %s about itself (INFO): %w", name, err)
	}
	info := parseInfo(text)
	// The volatile policies evict only what has a time to live, and no state has.
	if policy := info["maxmemory_policy"]; strings.HasPrefix(policy, "allkeys") {
		return fmt.Errorf("%s has the maxmemory-policy %s and would evict state: set it to noeviction", name, policy)
	}
	if info["aof_enabled"] == "0" {
		b.c.Logger.Warn("redis: no append-only file: a restart of the server goes back to its last snapshot, and is refused then. Set appendonly yes",
			"server", name)
	}
	return nil
}

func parseInfo(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[key] = value
		}
	}
	return m
}
