package store

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ahead has the kernel read what of some bytes of mapped objects is not in memory, all of it at once, and does not wait. A call for
// hundreds of pieces that are there takes some tenths of a millisecond, so it is for when they are likely not: see [MajorFaults].
func Ahead(pieces [][]byte) {
	page := uintptr(unix.Getpagesize())
	last := uintptr(0) // page that was asked for last
	for _, piece := range pieces {
		if len(piece) == 0 {
			continue
		}
		from := uintptr(unsafe.Pointer(unsafe.SliceData(piece)))
		end := (from + uintptr(len(piece)) + page - 1) &^ (page - 1)
		if from &^= page - 1; from == last && end == from+page {
			continue
		}
		last = end - page
		// By the address: it is only advice, and pieces of the heap are in memory anyway.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, end-from, unix.MADV_WILLNEED)
	}
}

// threadTime is how long the thread of the caller, which a goroutine may leave at any time, has had a processor.
func threadTime() (thread int, busy time.Duration) {
	runtime.LockOSThread() // both are of one
	defer runtime.UnlockOSThread()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, 0
	}
	return unix.Gettid(), time.Duration(t.Nano())
}

// MajorFaults counts the times that a thread waited for a page to be read, and says which thread: that of the caller, which a goroutine
// may leave at any time.
func MajorFaults() (thread int, faults int64) {
	runtime.LockOSThread() // both are of one
	defer runtime.UnlockOSThread()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		return 0, 0
	}
	return unix.Gettid(), usage.Majflt
}
