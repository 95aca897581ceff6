package testserver

import (
	"fmt"
	"syscall"
)

func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// mountMemory makes dir a file system of some bytes that belongs to a user.
func mountMemory(dir string, bytes int, user *syscall.Credential) error {
	options := fmt.Sprintf("size=%d,mode=0700", bytes)
	if user != nil {
		options += fmt.Sprintf(",uid=%d,gid=%d", user.Uid, user.Gid)
	}
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, options)
}

func unmount(dir string) error { return syscall.Unmount(dir, 0) }
