//go:build race

package build

// racing says that the race detector is on: streams are long sums on few goroutines, ten times as slow with it.
const racing = true
