package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/edsrzf/mmap-go"
)

// Scratch is writable memory that lies in a file of the cache's directory: the kernel writes it there when memory is short,
// so that it is no heap, and none of its garbage. Nothing else ever reads the file, and it ends with the process.
type Scratch struct {
	cache *Cache
	held  *cacheFile // its share of the cache's bound
	file  *os.File
	data  mmap.MMap
}

// Scratch returns that many bytes, all zero. They count as bytes of the cache that are in use; if there is no room for them,
// that is ErrCacheFull or the disk's error.
func (c *Cache) Scratch(bytes int64) (*Scratch, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("scratch memory of %d bytes: must not be negative", bytes)
	}
	s := &Scratch{cache: c, held: &cacheFile{}}
	if bytes == 0 {
		return s, nil
	}
	if err := c.reserve(Ref{Key: "scratch memory", Size: bytes}, s.held); err != nil {
		return nil, err
	}
	if err := s.open(bytes); err != nil {
		s.Release()
		return nil, fmt.Errorf("scratch memory of %d bytes: %w", bytes, classifyOS(err))
	}
	return s, nil
}

// open writes the file rather than stretching it: a page that has no room on the disk is an error now, not a SIGBUS later.
func (s *Scratch) open(bytes int64) (err error) {
	if s.file, err = createTemp(s.cache.dir); err != nil {
		return err
	}
	_ = os.Remove(s.file.Name()) // while it is open: a process that is killed leaves nothing. Where that is not done, Release does it
	zero := make([]byte, min(bytes, 1<<20))
	for left := bytes; left > 0; left -= int64(len(zero)) {
		zero = zero[:min(left, int64(len(zero)))]
		if _, err := s.file.Write(zero); err != nil {
			return err
		}
	}
	s.data, err = mmap.Map(s.file, mmap.RDWR, 0)
	return err
}

// Bytes is the memory. It must not be used after Release.
func (s *Scratch) Bytes() []byte { return s.data }

// Release gives memory and file back. Calling it again does nothing.
func (s *Scratch) Release() {
	if len(s.data) > 0 {
		_ = s.data.Unmap() // fails only for an address that was never mapped
	}
	if s.file != nil {
		_ = errors.Join(s.file.Close(), os.Remove(s.file.Name())) // mostly it is removed already
	}
	s.data, s.file = nil, nil
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	s.cache.setSize(s.held, 0)
}
