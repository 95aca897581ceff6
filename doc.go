// Package pondage is the root of Pondage: windows, keyed state, checkpoints and
// exactly-once effects for Go services that use Watermill.
//
// A service imports what it needs: [github.com/pondage/pondage/handlers] for
// window handlers, [github.com/pondage/pondage/stateful] for the processor, one
// backend below it, [github.com/pondage/pondage/outbox] for what leaves the
// service and [github.com/pondage/pondage/middleware] for retries, circuit
// breakers and dead letters. The command in cmd/pondage shows all of it at work.
package pondage
