package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// cage is a control group that bounds memory, page cache too: what a machine with less of it does.
type cage struct{ dir string }

// newCage makes one of either version of control groups.
func newCage(bytes int64) (*cage, error) {
	root, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		root, file = "/sys/fs/cgroup", "memory.max"
	}
	c := &cage{filepath.Join(root, fmt.Sprintf("adastream-scale-%d", os.Getpid()))}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("control group that limits memory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(strconv.FormatInt(bytes, 10)), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("limit of %d bytes: %w", bytes, err), c.remove())
	}
	return c, nil
}

// take moves a process in.
func (c *cage) take(pid int) error {
	return os.WriteFile(filepath.Join(c.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// remove removes the group, whose processes have ended.
func (c *cage) remove() error { return os.Remove(c.dir) }

// evict has the kernel forget the files below a directory, so that they are read from the disk again, and count for who does.
func evict(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
