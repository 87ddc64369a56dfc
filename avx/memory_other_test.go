//go:build !unix

package avx

import "testing"

// memories returns plain memory: pages cannot be guarded here.
func memories(*testing.T) []*memory {
	m := &memory{name: "unguarded"}
	for i := range m.regions {
		m.regions[i] = make([]byte, 1<<20)
	}
	return []*memory{m}
}
