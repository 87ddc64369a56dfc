//go:build !linux

package store

import "time"

// Ahead does nothing: pages are read when they are missed.
func Ahead([][]byte) {}

// threadTime is the time of day: that of all threads, and of when they wait.
func threadTime() (thread int, busy time.Duration) { return 0, time.Duration(time.Now().UnixNano()) }

// MajorFaults counts nothing.
func MajorFaults() (thread int, faults int64) { return 0, 0 }
