package stateful

import "errors"

// Values are encoded when they are committed, once for all the records that changed them. One that cannot
// be encoded is found then, when nobody knows any more whose it is. The transaction is dropped and
// its batch run again, with a look at each record's values while that one is in hand: so it
// is the record, or the firing, that fails, and what becomes of it is the policy's affair.

// unencodable is a value that could not be encoded.
type unencodable struct{ err error }

func (e *unencodable) Error() string { return e.err.Error() }
func (e *unencodable) Unwrap() error { return e.err }

func isUnencodable(err error) bool {
	var u *unencodable
	return errors.As(err, &u)
}

// flush encodes what was changed into the transaction's writes.
func (t *Task) flush(tx *Tx) error {
	err := guard(func() error {
		for _, tb := range t.tables {
			if err := tb.flush(tx); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil:
		return nil
	case t.checking:
		return t.breakdown(err) // it was encoded before: the value changes by itself
	}
	return TaskFault(&unencodable{err})
}

// check returns why a value that the record or firing in hand put cannot be encoded.
func (t *Task) check() error {
	for _, tb := range t.tables {
		var err error
		if t.key, err = tb.check(t.tx.record, t.key[:0]); err != nil {
			return Permanent(err)
		}
	}
	return nil
}
