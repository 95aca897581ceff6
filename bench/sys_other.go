//go:build !unix

package main

import "time"

func offHeap(n int) ([]byte, error) { return make([]byte, n), nil }

func freeOffHeap([]byte) error { return nil }

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
