//go:build !linux

package store

import "math"

// diskSpace is not known.
func diskSpace(string) (free, all float64) { return math.NaN(), math.NaN() }
