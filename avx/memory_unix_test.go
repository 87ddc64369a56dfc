//go:build unix

package avx

import (
	"testing"

	"golang.org/x/sys/unix"
)

// memories returns both placements. Regions lie between pages without any access.
func memories(t *testing.T) []*memory {
	begin := &memory{name: "after guard"}
	end := &memory{name: "before guard", atEnd: true}
	page, size := unix.Getpagesize(), 1<<20
	for i := range begin.regions {
		mapped, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Munmap(mapped); err != nil {
				t.Error(err)
			}
		})
		for _, guard := range [][]byte{mapped[:page], mapped[page+size:]} {
			if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
				t.Fatal(err)
			}
		}
		region := mapped[page : page+size : page+size]
		begin.regions[i], end.regions[i] = region, region
	}
	return []*memory{begin, end}
}
