package stateful

import (
	"errors"
	"fmt"
)

// ErrFenced is returned by [Pending.Wait] and by every other method of a
// [Store] when a newer owner of the task exists. The task must be closed;
// opening it again would fence that owner.
var ErrFenced = errors.New("stateful: fenced by a newer owner")

// ErrCommitUnknown is returned by [Pending.Wait] when the answer to a commit was
// lost: it may or may not have taken effect. The store must be opened again,
// which tells the sequence and token of the last commit that did.
var ErrCommitUnknown = errors.New("stateful: outcome of the commit is unknown")

// ErrClosed is returned by calls on a store, backend, sink or processor that
// has been closed.
var ErrClosed = errors.New("stateful: closed")

// ErrOutOfTurn is returned for a batch that cannot be processed because one
// before it was given up or is still missing. The source delivers both again,
// in order; nothing is lost.
var ErrOutOfTurn = errors.New("stateful: a batch before this one was given up")

// ErrContextLost is returned for an envelope whose batch is no longer in its
// context: some middleware copied the message. Nothing was processed and
// nothing may be acknowledged.
var ErrContextLost = errors.New("stateful: the message says it is an envelope but its context has no batch: " +
	"a middleware or publisher copied it without its context; use CopyWithContext or take that middleware out")

// Permanent marks err as one that no retry will cure. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or an error it wraps, was marked by
// [Permanent].
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// taskError marks a failure of the store, the outbox or the fence. It is the
// task's and never the record's: it counts no attempt and dead-letters nothing (T2).
type taskError struct{ err error }

func (e *taskError) Error() string { return e.err.Error() }
func (e *taskError) Unwrap() error { return e.err }

// TaskFault marks err as a failure of the task (its store, outbox or fence) and
// not of the record in hand. Such an error counts no attempt of the record and
// never dead-letters it. It returns nil for nil.
func TaskFault(err error) error {
	if err == nil || isTaskFault(err) {
		return err
	}
	return &taskError{err}
}

func isTaskFault(err error) bool {
	if err == nil {
		return false
	}
	var t *taskError
	return errors.As(err, &t) || errors.Is(err, ErrFenced) || errors.Is(err, ErrCommitUnknown) || errors.Is(err, ErrClosed)
}

// PanicError is a panic of a handler, turned into an error. It is retried like
// any other, and the third panic on one record is permanent.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the stack of the goroutine that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.Value) }

// Unwrap returns the panic's value when it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
