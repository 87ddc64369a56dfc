package store

import (
	"math"

	"golang.org/x/sys/unix"
)

// diskSpace is what the file system of a directory has free for us and in all, in bytes.
func diskSpace(dir string) (free, all float64) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return math.NaN(), math.NaN()
	}
	return float64(s.Bavail) * float64(s.Bsize), float64(s.Blocks) * float64(s.Bsize)
}
