package pebble_test

import (
	"context"
	"fmt"
	"os"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/pebble"
)

// State is on the disk: another process, later, goes on with it. A processor makes
// these calls itself; a service only passes the backend to it.
func ExampleNew() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "pebble")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		b, err := pebble.New(ctx, pebble.Config{Dir: dir})
		if err != nil {
			panic(err)
		}
		store, head, err := b.Open(ctx, stateful.TaskID{App: "clicks", Handler: "per-minute"})
		if err != nil {
			panic(err)
		}
		values, err := store.Get(ctx, "ana")
		if err != nil {
			panic(err)
		}
		fmt.Printf("epoch %d, commits %d, ana %q\n", head.Epoch, head.Seq, values[0])
		commit := stateful.Commit{Seq: head.Seq + 1, Writes: []stateful.Write{{Key: "ana", Value: []byte("1")}}}
		if err := store.Submit(ctx, commit).Wait(ctx); err != nil {
			panic(err)
		}
		if err := b.Close(); err != nil {
			panic(err)
		}
	}
	// Output:
	// epoch 1, commits 0, ana ""
	// epoch 2, commits 1, ana "1"
}
