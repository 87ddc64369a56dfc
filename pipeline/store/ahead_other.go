//go:build !linux

package store

// Ahead does nothing: pages are read when they are missed.
func Ahead([][]byte) {}

// MajorFaults counts nothing.
func MajorFaults() (thread int, faults int64) { return 0, 0 }
