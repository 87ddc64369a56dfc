package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// diskSize is that of a disk which a member's cache has to itself.
const diskSize = "64m"

// mount puts a small disk at dir. Where that is not allowed nothing can be filled, which is said.
func (c *campaign) mount(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+diskSize); err != nil {
		c.noDisks = true
		fmt.Fprintf(c.o.Out, "NO DISK GETS FULL: a tmpfs cannot be mounted here: %v\n", err)
		return nil
	}
	c.onClose(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return nil
}

// fill leaves no room on the disk of a member for a while.
func (c *campaign) fill(ctx context.Context, e event) error {
	if c.noDisks || !c.oneDisk.TryLock() {
		return nil
	}
	defer c.oneDisk.Unlock()
	m := c.member(e.target, e.index)
	name := filepath.Join(filepath.Dir(m.cache), "filler")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer f.Close()
	c.totals.count(eventFull)
	block := make([]byte, 64<<10)
	for end := time.Now().Add(e.lasts); ctx.Err() == nil && time.Now().Before(end); { // what the member gives up meanwhile is taken too
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			pause(ctx, 20*time.Millisecond)
		} else if err != nil {
			return fmt.Errorf("fill the disk of %s: %w", m.name, err)
		}
	}
	return nil
}
