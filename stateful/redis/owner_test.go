package redis_test

import (
	"strings"
	"testing"

	"github.com/pondage/pondage/internal/remotetest"
	"github.com/pondage/pondage/internal/testserver"
)

// TestOwner is no test of its own: it is the process that TestASuspendedOwnerIsFenced suspends.
func TestOwner(t *testing.T) {
	where, ok := remotetest.OwnerAt()
	if !ok {
		return
	}
	addr, prefix, _ := strings.Cut(where, " ")
	c := config(addr)
	c.Prefix = prefix
	b := open(t, c)
	defer b.Close()
	remotetest.Owner(b)
}

func TestASuspendedOwnerIsFenced(t *testing.T) {
	addr := testserver.SharedRedis(t)
	c := config(addr)
	b := open(t, c)
	defer b.Close()
	remotetest.SuspendedOwner(t, "TestOwner", addr+" "+c.Prefix, b)
}
