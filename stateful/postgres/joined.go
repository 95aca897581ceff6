package postgres

import (
	"errors"
	"fmt"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// CanJoin implements [stateful.Joiner].
func (s *store) CanJoin(db any) bool { return db == any(s.b) }

// joinedRows is what a sink adds to a commit of the same database.
type joinedRows struct {
	s    *sink
	p    stateful.Producer
	rows []stateful.Row
}

// Join implements [stateful.Joined].
func (j *joinedRows) Join(w stateful.BatchWriter) error {
	to, ok := w.(*writer)
	if !ok {
		return fmt.Errorf("postgres: sink %q cannot write to a %T", j.s.name, w)
	}
	if j.s.closed.Load() {
		return j.s.wrap(j.p, stateful.ErrClosed)
	}
	if len(j.rows) == 0 {
		return nil
	}
	calls, err := j.s.write(j.p, j.rows, param{oid: oidInt8})
	if err != nil {
		return j.s.wrap(j.p, err)
	}
	to.calls = append(to.calls, calls...)
	j.rows = nil
	return nil
}

// Applied implements [stateful.Joined].
func (j *joinedRows) Applied(error) {}

// Durable implements [stateful.Joined].
func (j *joinedRows) Durable(error) {}

// writer is what joins a commit: statements.
type writer struct{ calls []call }

var errNoKeys = errors.New("postgres: a commit takes the rows of a Backend.Sink and no raw keys")

// Set implements [stateful.BatchWriter].
func (*writer) Set(_, _ []byte) error { return errNoKeys }

// Delete implements [stateful.BatchWriter].
func (*writer) Delete([]byte) error { return errNoKeys }

// part is one that joined, with its statements.
type part struct {
	stateful.Joined
	calls []call
}

// join lets all join a commit. When one fails, those before it are told.
func join(joined []stateful.Joined) ([]stateful.Joined, error) {
	parts := make([]stateful.Joined, 0, len(joined))
	for _, j := range joined {
		var w writer
		if err := j.Join(&w); err != nil {
			err = fmt.Errorf("join the commit: %w", err)
			tell(parts, err)
			return nil, err
		}
		parts = append(parts, &part{j, w.calls})
	}
	return parts, nil
}

// tell tells all that joined how the commit ended. Here what is applied is durable.
func tell(joined []stateful.Joined, err error) {
	for _, j := range joined {
		j.Applied(err)
	}
	for _, j := range joined {
		j.Durable(err)
	}
}

// withJoined returns the transaction of a group of commits and of what joined them. The statement of the state fails, and
// with it the transaction, when the state is another's.
func withJoined(commit call, now []*remote.Pending) []call {
	calls := []call{commit}
	for _, p := range now {
		for _, j := range p.Joined {
			calls = append(calls, j.(*part).calls...)
		}
	}
	return calls
}
