//go:build !linux

package store

// touch does nothing: pages become present one by one.
func touch([]byte) error { return nil }

// scatter does nothing: the kernel reads as it thinks best.
func scatter([]byte, bool) {}
