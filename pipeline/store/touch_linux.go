package store

import (
	"errors"

	"golang.org/x/sys/unix"
)

// touch makes all pages of a mapping present, so that the first queries after a swap do not wait for the kernel a page at a
// time, and a file that cannot be read through is an error before it is served, not a SIGBUS while it is.
func touch(mapping []byte) error {
	if len(mapping) == 0 {
		return nil
	}
	err := unix.Madvise(mapping, unix.MADV_POPULATE_READ)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // before Linux 5.14, and some sandboxes
		return nil
	}
	return err
}

// scatter has the kernel read a page at a time when a page of a mapping is missing, or not. If not it reads what lies around it too, 128
// KiB and on some machines megabytes, which pushes out of a memory that is too small what the next query needs.
func scatter(mapping []byte, yes bool) {
	advice := unix.MADV_NORMAL
	if yes {
		advice = unix.MADV_RANDOM
	}
	if len(mapping) > 0 {
		_ = unix.Madvise(mapping, advice) // where that is not known, all else works as before
	}
}
