//go:build !linux

package testserver

import "syscall"

// endsWithParent can do nothing here: a server outlives a test that was killed.
func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
