package stateful_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// A limit of calls a minute that several handlers share.
func ExampleKV() {
	ctx := context.Background()
	b := memory.New() // with Redis or Postgres, several processes share it
	defer b.Close()
	kv := b.KV(stateful.KVConfig{Prefix: "limits:"})
	for range 3 {
		n, err := kv.Increment(ctx, "ana", 1, time.Minute) // the minute begins with the first call
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(n, n <= 2)
	}
	// Output:
	// 1 true
	// 2 true
	// 3 false
}

func ExampleNewTyped() {
	ctx := context.Background()
	b := memory.New()
	defer b.Close()
	type profile struct{ Name, City string }
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[profile]{})
	if err != nil {
		fmt.Println(err)
		return
	}
	profiles := stateful.NewTyped(b.KV(stateful.KVConfig{}), codec)
	if err := profiles.Put(ctx, "ana", profile{"Ana", "Porto"}, stateful.NoTTL); err != nil {
		fmt.Println(err)
		return
	}
	p, found, err := profiles.Get(ctx, "ana")
	fmt.Println(p.City, found, err)
	// Output: Porto true <nil>
}

// One of several processes does what must not be done twice at a time.
func ExampleAcquireLease() {
	ctx := context.Background()
	b := memory.New()
	defer b.Close()
	kv := b.KV(stateful.KVConfig{})
	lease, err := stateful.AcquireLease(ctx, kv, "nightly-report", 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = stateful.AcquireLease(ctx, kv, "nightly-report", 30*time.Second)
	fmt.Println(lease.Token(), err)
	if err := lease.Release(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: 1 lease "nightly-report": stateful: another holds the lease
}
