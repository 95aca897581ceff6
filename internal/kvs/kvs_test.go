package kvs

import (
	"context"
	"errors"
	"testing"

	"github.com/pondage/pondage/stateful"
)

// flaky fails so many times before it answers.
type flaky struct {
	Store
	fails int
}

var errFlaky = errors.New("not now")

func (f *flaky) fail() error {
	if f.fails == 0 {
		return nil
	}
	f.fails--
	return errFlaky
}

func (f *flaky) Get(_ context.Context, keys []string) ([][]byte, error) {
	return make([][]byte, len(keys)), f.fail()
}
func (f *flaky) Take(context.Context, string) ([]byte, error) { return nil, f.fail() }

// Calls that failed are tried again as the backend says, which learns whether one may be made again though it
// may have taken effect. Each call counts once, and each try that was made again.
func TestCallsAreTriedAgain(t *testing.T) {
	s := &flaky{}
	var asked []bool
	kv := New(s, stateful.KVConfig{}, Retry{Wait: func(_ context.Context, n int, repeatable bool, err error) error {
		asked = append(asked, repeatable)
		if n > 2 || !repeatable {
			return err
		}
		return nil
	}})
	ctx := context.Background()

	s.fails = 2
	if _, err := kv.Get(ctx, "a"); err != nil {
		t.Errorf("a call that failed twice: %v", err)
	}
	s.fails = 3
	if _, err := kv.Get(ctx, "a"); !errors.Is(err, errFlaky) {
		t.Errorf("a call that failed three times: %v", err)
	}
	s.fails = 1
	if _, err := kv.GetAndDelete(ctx, "a"); !errors.Is(err, errFlaky) {
		t.Errorf("a call that must not be repeated: %v", err)
	}
	if n := len(asked); n != 6 || asked[n-1] || !asked[0] {
		t.Errorf("asked %v", asked)
	}
	got := kv.Stats()
	if got.OperationCount != 3 || got.RetryCount != 4 || got.ErrorCount != 2 || got.GetCount != 1 {
		t.Errorf("counted %+v", got)
	}
}
