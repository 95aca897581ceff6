package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// call is one statement of a transaction, and what to do with the rows it returns.
type call struct {
	sql    string
	params []param
	row    func(f *fields) error
}

var binary1 = []int16{1} // all columns are binary

// add puts the statement behind those of a batch.
func (c *call) add(b *pgconn.Batch) {
	values, oids, formats := make([][]byte, len(c.params)), make([]uint32, len(c.params)), make([]int16, len(c.params))
	for i, p := range c.params {
		values[i], oids[i] = p.value, p.oid
		if !p.text {
			formats[i] = 1
		}
	}
	// Without a name: a named statement would live in a session that a pooler may give to another.
	b.ExecParams(c.sql, values, oids, formats, binary1)
}

// again runs statements, which may be repeated, as one transaction in one round trip.
func (b *Backend) again(ctx context.Context, calls ...call) error {
	return b.guard.Again(ctx, func() error { return b.run(ctx, calls...) })
}

// once runs statements as one transaction in one round trip, under the breaker.
func (b *Backend) once(ctx context.Context, calls ...call) error {
	return b.guard.Once(func() error { return b.run(ctx, calls...) })
}

// run runs statements as one transaction: the server ends it with the last, so none is ever open while it
// waits for us.
func (b *Backend) run(ctx context.Context, calls ...call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	try, cancel := context.WithTimeout(ctx, b.c.Timeout+b.c.Timeout/4) // the server's own comes first
	defer cancel()
	err := b.runOn(try, calls)
	if err != nil && ctx.Err() == nil && try.Err() != nil {
		return &silentError{what: err.Error(), unsent: isUnsent(err)} // the context that ended is ours alone
	}
	return err
}

func (b *Backend) runOn(ctx context.Context, calls []call) error {
	conn, err := b.pool.Acquire(ctx)
	if err != nil {
		return &connectError{err}
	}
	defer conn.Release()
	var batch pgconn.Batch
	if b.c.Pooler || b.c.Pool != nil { // a session's own are not ours to set
		calls = slices.Insert(slices.Clone(calls), 0, b.settings(b.c.Timeout, b.c.LockTimeout))
	}
	for i := range calls {
		calls[i].add(&batch)
	}
	session := conn.Conn().PgConn()
	results := session.ExecBatch(ctx, &batch)
	sent := !session.IsClosed()
	err = readAll(results, calls)
	// Only the first error says whether anything was sent: later ones are of a connection that is closed by then.
	if errClose := results.Close(); err == nil {
		err = errClose
	}
	if err != nil && sent && code(err) == "" && !isTold(err) {
		return &lostError{err}
	}
	return err
}

func readAll(results *pgconn.MultiResultReader, calls []call) error {
	for i := 0; results.NextResult(); i++ {
		rr := results.ResultReader()
		for rr.NextRow() {
			if calls[i].row == nil {
				continue
			}
			f := fields{values: rr.Values()}
			if err := calls[i].row(&f); err != nil {
				return err
			}
			if f.err != nil {
				return f.err
			}
		}
		if _, err := rr.Close(); err != nil {
			return err
		}
	}
	return nil
}

// settings returns the statement that sets the timeouts of a transaction.
func (b *Backend) settings(statement, lock time.Duration) call {
	return call{sql: b.sql.settings, params: []param{textParam(millis(statement)), textParam(millis(lock))}}
}

func millis(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10) // 0 would be for ever
}

// lostError is the failure of a session after everything was sent. What pgx says of it does not tell: it reads past
// the failure that it found when it looked for the next answer, and then says that a closed session can be asked again.
type lostError struct{ err error }

func (e *lostError) Error() string { return "the answer was lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// connectError is the failure to get a connection: nothing was sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// silentError says that the server did not answer in time.
type silentError struct {
	what   string
	unsent bool
}

func (e *silentError) Error() string { return "no answer in time: " + e.what }

// SQLSTATEs, or their classes.
const (
	codeConnection    = "08"
	codeResources     = "53"  // disk full, out of memory, too many connections
	codeOperator      = "57P" // shut down, crashed, starting up
	codeSystem        = "58"
	codeReadOnly      = "25006"
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeLock          = "55P03"
	codeCanceled      = "57014"
	codePrivilege     = "42501"
	codeData          = "22" // it does not fit its type
	codeDivision      = "22012"
	codeConstraint    = "23"
	codeRange         = "22003"
	codeEncoding      = "22021"
)

// code returns the server's code of err, empty when it is not the server's.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func hasCode(err error, prefixes ...string) bool {
	c := code(err)
	return c != "" && slices.ContainsFunc(prefixes, func(p string) bool { return len(c) >= len(p) && c[:len(p)] == p })
}

// isAway reports whether err says that the server cannot be reached or does not work.
func isAway(err error) bool {
	switch {
	case err == nil || isTold(err):
		return false
	case code(err) == "":
		return true // of the network, or no answer
	}
	return hasCode(err, codeConnection, codeOperator, codeSystem, codeReadOnly, codeResources)
}

// isCrowded reports whether a server that works refused a call for the moment.
func isCrowded(err error) bool {
	return hasCode(err, codeSerialization, codeDeadlock, codeLock, codeCanceled)
}

// isTold reports whether err is what we found out and not that something failed.
func isTold(err error) bool {
	for _, told := range []error{stateful.ErrFenced, remote.ErrLost, remote.ErrAway, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, told) {
			return true
		}
	}
	return false
}

// isUnsent reports whether a transaction that failed with err was certainly not carried out: it never reached
// the server, or the server says that it was rolled back. What ends a session, be it while it commits,
// says nothing of the kind.
func isUnsent(err error) bool {
	var connect *connectError
	var silent *silentError
	var lost *lostError
	var e *pgconn.PgError
	switch {
	case errors.As(err, &lost):
		return false
	case errors.As(err, &connect), errors.Is(err, remote.ErrAway):
		// Not pgconn.SafeToRetry: of a batch whose answer was cut it says that nothing was sent.
		return true
	case errors.As(err, &silent):
		return silent.unsent
	case errors.As(err, &e):
		return e.SeverityUnlocalized == "ERROR" && !hasCode(err, codeConnection, codeOperator)
	}
	return false
}

func (b *Backend) wrap(doing string, id stateful.TaskID, err error) error {
	return fmt.Errorf("postgres: %s task %s: %w", doing, id, err)
}
