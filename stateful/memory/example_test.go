package memory_test

import (
	"context"
	"fmt"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// State lives as long as the Backend: a task that is opened again goes on with it, and whoever
// opened it before is fenced.
func ExampleNew() {
	ctx, id := context.Background(), stateful.TaskID{App: "clicks", Handler: "per-minute"}
	b := memory.New()
	defer b.Close()
	old, _, err := b.Open(ctx, id)
	if err != nil {
		panic(err)
	}
	commit := stateful.Commit{Seq: 1, Writes: []stateful.Write{{Key: "ana", Value: []byte("1")}}}
	if err := old.Submit(ctx, commit).Wait(ctx); err != nil {
		panic(err)
	}
	store, head, err := b.Open(ctx, id)
	if err != nil {
		panic(err)
	}
	values, err := store.Get(ctx, "ana")
	if err != nil {
		panic(err)
	}
	fmt.Printf("epoch %d, commits %d, ana %s\n", head.Epoch, head.Seq, values[0])
	_, err = old.Get(ctx, "ana")
	fmt.Println(err)
	// Output:
	// epoch 2, commits 1, ana 1
	// memory: get from task clicks/per-minute/0: stateful: fenced by a newer owner
}
