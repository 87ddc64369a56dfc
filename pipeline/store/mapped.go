package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edsrzf/mmap-go"
)

// Mapped is an object in memory. The mapping is shared by all who fetched the object and lasts until the last Release; one of an
// object that was recalled is its owner's alone.
type Mapped struct {
	once     sync.Once
	release  func()
	data     []byte
	recalled atomic.Bool
	verify   func(ctx context.Context, share float64) error
}

// Bytes is the object, read-only: writing to it crashes the process. It must not be used after Release.
func (m *Mapped) Bytes() []byte { return m.data }

// Scattered says whether the bytes are read a few at a time all over the place from now on, by whoever has the mapping too: it is about
// what is read from the disk when memory is short, and about nothing else.
func (m *Mapped) Scattered(yes bool) { scatter(m.data, yes) }

// Release ends the use of the bytes. Calling it again does nothing.
func (m *Mapped) Release() { m.once.Do(m.release) }

// Recalled reports whether the object was not read through by this process, see [Cache.Recall].
func (m *Mapped) Recalled() bool { return m.recalled.Load() }

// Verify reads an object through that was recalled, taking no more than a share of the time, above 0 and up to 1: for the rest it leaves
// disk and processor to others. If the object is not what it was, its file is removed: the error is ErrTransient, for who fetches it once
// more has it from the bucket.
func (m *Mapped) Verify(ctx context.Context, share float64) error {
	if !m.Recalled() {
		return nil
	}
	return m.Reread(ctx, share)
}

// Reread is Verify of an object that this process may have read through before: pages come and go, and what comes may be another than it
// was. What is in memory is read there, as all who have the mapping read it.
func (m *Mapped) Reread(ctx context.Context, share float64) error {
	if err := m.verify(ctx, share); err != nil {
		return err
	}
	m.recalled.Store(false)
	return nil
}

// mapping is a file in memory. Guarded by cacheFiles.mu.
type mapping struct {
	data  mmap.MMap
	users int
}

// mapFile maps the file, or shares the mapping that exists. What is new and no file that was recalled has not been touched.
func (c *Cache) mapFile(ref Ref, f *cacheFile, hit bool) (m *Mapped, isNew bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := f.mapping
	if of == nil || f.recalled {
		data, err := mapReadOnly(c.path(ref.SHA256))
		if errors.Is(err, fs.ErrNotExist) {
			c.setSize(f, 0)
			f.verified, f.recalled = false, false
			return nil, false, err
		}
		if err != nil {
			return nil, false, fmt.Errorf("cache object %q: map: %w", ref.Key, classifyOS(err))
		}
		c.stats.Mapped += int64(len(data))
		of, isNew = &mapping{data: data}, !f.recalled
	}
	if !f.recalled {
		f.mapping = of
	}
	f.users++
	of.users++
	if hit {
		c.stats.Hits++
	}
	m = &Mapped{data: of.data, release: func() { c.unmap(f, of) }, verify: func(ctx context.Context, share float64) error {
		return c.verifyMapped(ctx, share, ref, f, of)
	}}
	m.recalled.Store(f.recalled)
	return m, isNew, nil
}

func mapReadOnly(path string) (mmap.MMap, error) {
	file, info, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info.Size() == 0 { // cannot be mapped
		return mmap.MMap{}, nil
	}
	return mmap.Map(file, mmap.RDONLY, 0)
}

// unmap ends one use of a mapping.
func (c *Cache) unmap(f *cacheFile, of *mapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.users--
	if of.users--; of.users > 0 {
		return
	}
	if f.mapping == of {
		f.mapping = nil
	}
	c.stats.Mapped -= int64(len(of.data))
	if len(of.data) > 0 {
		_ = of.data.Unmap() // fails only for an address that was never mapped
	}
}

// verifyStep is how much of a mapping is read at a time: a step takes about a millisecond.
const verifyStep = 1 << 20

// verifyMapped reads a mapping through.
func (c *Cache) verifyMapped(ctx context.Context, share float64, ref Ref, f *cacheFile, of *mapping) error {
	sum, data := sha256.New(), []byte(of.data)
	var err error
	for at := 0; at < len(data) && err == nil; at += verifyStep {
		step := data[at:min(at+verifyStep, len(data))]
		began := time.Now()
		Ahead([][]byte{data[at:min(at+2*verifyStep, len(data))]}) // else what is scattered is read a page at a time
		if err = touch(step); err == nil {
			sum.Write(step)
		}
		rest(ctx, time.Since(began), share)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); err == nil && got != ref.SHA256 {
		err = fmt.Errorf("its sha256 is %s", got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && f.recalled:
		f.verified, f.recalled = true, false
	case err != nil:
		c.stats.Corrupt++
		err = fmt.Errorf("cached file of object %q: %w: it has changed on the disk: %w", ref.Key, ErrTransient, err)
		if f.recalled || f.mapping == of { // else another user has found it, and fetched it anew
			err = errors.Join(err, c.remove(ref.SHA256, f))
		}
	}
	return err
}
