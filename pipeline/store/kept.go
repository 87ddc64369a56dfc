package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Keep stores what the caller has made of objects, for a later process too, under a name that says what it was made of: 64
// lower-case hex digits, as those of objects. It counts as a file of the cache, and Sweep asks for it. A full cache is
// ErrCacheFull, which does no harm.
func (c *Cache) Keep(name string, body []byte) error {
	ref := Ref{Key: name, Size: int64(len(body)), SHA256: name}
	if err := ref.check(); err != nil {
		return err
	}
	f := c.enter(name)
	defer c.leave(name, f)
	return c.write(ref, f, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
}

// Kept maps what was kept under a name, ErrNotFound if there is nothing. Nobody has compared it with anything: the caller does,
// and removes what is damaged by keeping something else.
func (c *Cache) Kept(name string) (*Mapped, error) {
	ref := Ref{Key: name, SHA256: name}
	if err := ref.check(); err != nil {
		return nil, err
	}
	f := c.enter(name)
	defer c.leave(name, f)
	m, _, err := c.mapFile(ref, f, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kept file %s: %w", name, ErrNotFound)
	}
	return m, err
}
