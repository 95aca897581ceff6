package redis_test

import (
	"context"
	"fmt"
	"os"

	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
)

// examples is a test that ends the program when something fails.
type examples struct{}

func (examples) Helper()                           {}
func (examples) Cleanup(func())                    {}
func (examples) TempDir() string                   { return os.TempDir() }
func (examples) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// State lives in the server: whoever opens a task goes on with it, and whoever opened it before is fenced.
func ExampleNew() {
	ctx := context.Background()
	backend, err := redis.New(ctx, redis.Config{
		URLs:   []string{"redis://" + testserver.SharedRedis(examples{})}, // redis://user:password@host:6379
		Prefix: fmt.Sprintf("clicks-%d:", os.Getpid()),
		Index:  true, // windows are found in the order of their ends
	})
	if err != nil {
		panic(err)
	}
	defer backend.Close()
	fmt.Println("a commit survives the loss of this", "machine:", backend.Domain() == stateful.DomainServer)

	task := stateful.TaskID{App: "clicks", Handler: "per-minute"}
	store, head, err := backend.Open(ctx, task)
	if err != nil {
		panic(err)
	}
	c := stateful.Commit{Seq: head.Seq + 1, Writes: []stateful.Write{{Key: "ana", Value: []byte("1")}}}
	if err := store.Submit(ctx, c).Wait(ctx); err != nil {
		panic(err)
	}
	_, head, err = backend.Open(ctx, task) // another process would
	if err != nil {
		panic(err)
	}
	fmt.Printf("epoch %d, commits %d\n", head.Epoch, head.Seq)
	fmt.Println(store.Submit(ctx, stateful.Commit{Seq: 2}).Wait(ctx))
	// Output:
	// a commit survives the loss of this machine: true
	// epoch 2, commits 1
	// redis: commit 2 of task clicks/per-minute/0: epoch 2 has it, this is 1: stateful: fenced by a newer owner
}
