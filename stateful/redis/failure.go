package redis

import (
	"context"
	"errors"
	"io"
	"net"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/remote"
)

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// isAway reports whether err says that the server cannot be reached or does not work.
func isAway(err error) bool {
	return isNetwork(err) || hasPrefix(err, "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS")
}

// isCrowded reports whether a server that works refused a call for the moment.
func isCrowded(err error) bool {
	return hasPrefix(err, "TRYAGAIN", "max number of clients") || errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrPoolExhausted)
}

// isUnsent reports whether a call that failed with err was certainly not carried out.
func isUnsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, remote.ErrAway) || isCrowded(err) ||
		hasPrefix(err, "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "OOM", "MISCONF", "NOAUTH", "NOPERM", "BUSY", "NOSCRIPT")
}

func isNetwork(err error) bool {
	var n net.Error
	switch {
	case err == nil || isReply(err):
		return false
	case errors.As(err, &n): // also a deadline of the context: who calls looks for that first where it matters
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// isReply reports whether err is what the server answered.
func isReply(err error) bool {
	var r goredis.Error
	return errors.As(err, &r)
}

func hasPrefix(err error, prefixes ...string) bool {
	for _, p := range prefixes {
		if goredis.HasErrorPrefix(err, p) {
			return true
		}
	}
	return false
}
