//go:build !linux

package store

// touch does nothing: pages become present one by one.
func touch([]byte) error { return nil }
