//go:build unix

package main

import (
	"syscall"
	"time"
)

// offHeap returns zeroed memory that the garbage collector does not count, so that
// the prepared events do not make collections rarer than they would be without them.
func offHeap(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

func freeOffHeap(b []byte) error { return syscall.Munmap(b) }

// cpuTime returns what the process has used so far, in user and system mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
