package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// downloadTries and downloadPause govern the repetition of a download whose stream broke off or was damaged; see retry.
const (
	downloadTries = 5
	downloadPause = 200 * time.Millisecond
)

// ErrCacheFull: the objects in use fill the cache's limit.
var ErrCacheFull = errors.New("cache full")

// Ref names an object and says what must be in it.
type Ref struct {
	Key    string
	Size   int64  // bytes
	SHA256 string // 64 lower-case hex digits
}

func (r Ref) check() error {
	sum, err := hex.DecodeString(r.SHA256)
	if err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != r.SHA256 {
		return fmt.Errorf("object %q: sha256 %q: must be 64 lower-case hex digits", r.Key, r.SHA256)
	}
	if r.Size < 0 {
		return fmt.Errorf("object %q: size %d: must not be negative", r.Key, r.Size)
	}
	return nil
}

// CacheOptions tune NewCache. The zero value works.
type CacheOptions struct {
	// MaxBytes bounds the sum of the files. To stay within it, files that nobody uses are removed, longest unused first; what is
	// in use is never removed. 0 is no bound.
	MaxBytes int64
	// Logger is told which file or download was not what its Ref says, as what is mended by itself is no error that anybody sees. nil is
	// not told.
	Logger *slog.Logger
}

// CacheStats counts since NewCache, and tells what is there at present.
type CacheStats struct {
	Hits            int64 // fetches served without a download
	Downloads       int64 // objects downloaded and found intact
	BytesDownloaded int64 // bytes of those
	Corrupt         int64 // files and downloads whose content was not what the Ref says
	Bytes           int64 // present size of all files
	Mapped          int64 // bytes of the files that are mapped at present
}

// Cache keeps immutable objects of a bucket as files and maps them into memory.
//
// A file is named by the SHA-256 of its content, so two keys with the same content share it, and it is served only after
// this process has checked that sum: while downloading, or at its first use if it was there before. Several processes
// may share a directory. All methods may be called concurrently.
type Cache struct {
	bucket  Bucket
	recalls bool // does without reading through what was recalled
	pace    pace // of downloading and reading through
	*cacheFiles
}

// cacheFiles are the files of a directory, whatever buckets they came from.
type cacheFiles struct {
	dir      string
	maxBytes int64
	log      *slog.Logger
	flights  singleflight.Group

	mu    sync.Mutex
	files map[string]*cacheFile // by SHA256; an entry outlives its file while someone uses it
	clock int64                 // counts uses
	bytes int64                 // sum of present sizes
	stats CacheStats            // but for Bytes
}

// cacheFile is what is known of one file. Guarded by cacheFiles.mu.
type cacheFile struct {
	size     int64 // bytes on disk; 0 while there is no file
	verified bool
	recalled bool         // not verified, but by an earlier process
	identity fileIdentity // of the file that was verified, zero where it is not known
	users    int          // fetches under way and unreleased mappings; >0 protects the file
	mapping  *mapping     // that is shared; nil while there is none
	lastUse  int64
}

// NewCache opens the cache in dir, which is created if it is missing.
func NewCache(dir string, b Bucket, o CacheOptions) (*Cache, error) {
	if o.MaxBytes < 0 {
		return nil, fmt.Errorf("cache size %d: must be positive, or 0 for no bound", o.MaxBytes)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache directory: %w", classifyOS(err))
	}
	sweepTemp(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cache directory: %w", classifyOS(err))
	}
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	c := &Cache{bucket: b, cacheFiles: &cacheFiles{dir: dir, maxBytes: o.MaxBytes, log: log, files: map[string]*cacheFile{}}}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || (Ref{SHA256: entry.Name()}).check() != nil {
			continue
		}
		c.files[entry.Name()] = &cacheFile{size: info.Size()}
		c.bytes += info.Size()
	}
	return c, nil
}

// Of is the same cache for the objects of another bucket: files, bound and counters are one.
func (c *Cache) Of(b Bucket) *Cache { return &Cache{b, c.recalls, c.pace, c.cacheFiles} }

// Resting is the same cache, of which a Fetch that downloads or reads through takes no more than a share of a processor, above 0 and below
// 1, for files and checksums, as long as others are busy with work that must not wait.
func (c *Cache) Resting(share float64, busy func() bool) *Cache {
	return &Cache{c.bucket, c.recalls, pace{busy, share}, c.cacheFiles}
}

// Fetch returns the object, from the cache if it is there, else downloaded. Concurrent fetches of one object download it
// once. Content that is not what ref says, however often it is read, is ErrCorrupt, and leaves no file; the bucket's errors
// are passed on.
func (c *Cache) Fetch(ctx context.Context, ref Ref) (*Mapped, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	f := c.enter(ref.SHA256)
	defer c.leave(ref.SHA256, f)
	for {
		result, err, _ := c.flights.Do(ref.SHA256, func() (any, error) {
			downloaded, err := c.ensure(ctx, ref, f)
			if err != nil && ctx.Err() != nil {
				return flight{abandoned: true}, nil
			}
			return flight{downloaded: downloaded}, err
		})
		if err == nil && ctx.Err() != nil {
			err = fmt.Errorf("cache object %q: %w", ref.Key, context.Cause(ctx))
		}
		if err != nil {
			return nil, err
		}
		outcome := result.(flight)
		if outcome.abandoned {
			continue // by the caller we waited for; we still want it
		}
		m, isNew, err := c.mapFile(ref, f, !outcome.downloaded)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process that shares the directory removed it
		}
		if err != nil || !isNew {
			return m, err
		}
		if err := touch(m.data); err != nil {
			m.Release()
			return nil, fmt.Errorf("cache object %q: read the mapping: %w", ref.Key, classifyOS(err))
		}
		return m, nil
	}
}

// flight is the outcome of one download that several callers wait for.
type flight struct {
	downloaded bool // false: the file was there
	abandoned  bool // the context of the caller who ran it ended
}

// Put stores the content of an object that the caller has just written to the bucket, which spares its download. A full
// cache is ErrCacheFull, which does no harm.
func (c *Cache) Put(ctx context.Context, ref Ref, body []byte) error {
	if err := ref.check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if sum := sha256.Sum256(body); int64(len(body)) != ref.Size || hex.EncodeToString(sum[:]) != ref.SHA256 {
		return fmt.Errorf("cache object %q: %w: body has %d bytes and sha256 %x, the reference says %d and %s",
			ref.Key, ErrCorrupt, len(body), sum, ref.Size, ref.SHA256)
	}
	f := c.enter(ref.SHA256)
	defer c.leave(ref.SHA256, f)
	if c.present(ctx, ref, f) {
		return nil
	}
	return c.write(ref, f, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
}

// Hold has a file, by the SHA256 of its Ref, stay until release: also one that is not there yet, so that what is put is found when it is
// fetched, whoever sweeps meanwhile.
func (c *Cache) Hold(sha256 string) (release func()) {
	f := c.enter(sha256)
	return func() { c.leave(sha256, f) }
}

// Sweep removes the files that are not in use and for which keep is false. It asks with the SHA256 of the Ref: a file knows
// nothing else. It returns the bytes it freed. Others may use the cache between two files: to remove many takes a while.
func (c *Cache) Sweep(keep func(sha256 string) bool) (freed int64, err error) {
	c.mu.Lock()
	var idle []string
	for name, f := range c.files {
		if f.users == 0 && !keep(name) {
			idle = append(idle, name)
		}
	}
	c.mu.Unlock()
	var faults []error
	for _, name := range idle {
		size, err := c.removeIdle(name)
		freed += size
		faults = append(faults, err)
	}
	return freed, errors.Join(faults...)
}

// removeIdle deletes a file that nobody uses, and returns its size.
func (c *Cache) removeIdle(name string) (size int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[name]
	if f == nil || f.users > 0 {
		return 0, nil
	}
	size = f.size
	if err := c.remove(name, f); err != nil {
		return 0, err
	}
	return size, nil
}

// Stats returns the counters.
func (c *Cache) Stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := c.stats
	stats.Bytes = c.bytes
	return stats
}

// enter protects a file from removal until leave.
func (c *Cache) enter(name string) *cacheFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[name]
	if f == nil {
		f = &cacheFile{}
		c.files[name] = f
	}
	c.clock++
	f.lastUse = c.clock
	f.users++
	return f
}

func (c *Cache) leave(name string, f *cacheFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.users--
	if f.users == 0 && f.size == 0 && !f.verified {
		delete(c.files, name) // nothing came of it
	}
}

// ensure makes the verified file be there, and says whether it had to download it.
func (c *Cache) ensure(ctx context.Context, ref Ref, f *cacheFile) (downloaded bool, err error) {
	if c.present(ctx, ref, f) {
		return false, nil
	}
	// The stream may break off midway or be damaged, which Open, having tried again itself, cannot repair.
	failedOpen, err := retry(ctx, downloadTries, downloadPause, func() (failedOpen, err error) {
		r, size, err := c.bucket.Open(ctx, ref.Key)
		if err != nil {
			return err, nil
		}
		defer r.Close()
		err = c.download(ctx, ref, f, r, size)
		if errors.Is(err, ErrCorrupt) { // also to a bucket that keeps sums of its own
			c.met("a download does not match its record", ref, err)
		}
		return nil, err
	})
	if err = cmp.Or(failedOpen, err); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Downloads++
	c.stats.BytesDownloaded += ref.Size
	return true, nil
}

// download writes the file of ref from r, which announces size bytes.
func (c *Cache) download(ctx context.Context, ref Ref, f *cacheFile, r io.Reader, size int64) error {
	if size != ref.Size {
		return c.corrupt(ref, fmt.Sprintf("has %d bytes, not %d", size, ref.Size))
	}
	return c.write(ref, f, func(w io.Writer) error {
		sum := sha256.New()
		n, err := io.Copy(c.pace.writer(ctx, io.MultiWriter(w, sum)), r)
		if err != nil {
			return fmt.Errorf("download: %w", err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); n != ref.Size || got != ref.SHA256 {
			return c.corrupt(ref, fmt.Sprintf("has %d bytes and sha256 %s, not %d and %s", n, got, ref.Size, ref.SHA256))
		}
		return nil
	})
}

func (c *Cache) corrupt(ref Ref, what string) error {
	return fmt.Errorf("object %q of %s: %w: %s", ref.Key, c.bucket, ErrCorrupt, what)
}

// met counts what was not what its Ref says, and tells of it.
func (c *Cache) met(what string, ref Ref, err error) {
	c.mu.Lock()
	c.stats.Corrupt++
	c.mu.Unlock()
	c.log.Warn(what, "key", ref.Key, "error", err)
}

// present says whether the file is there and intact, reading it through at its first use in this process. A damaged one
// is removed: the bucket has better.
func (c *Cache) present(ctx context.Context, ref Ref, f *cacheFile) bool {
	c.mu.Lock()
	known := f.verified || c.recalls && f.recalled
	c.mu.Unlock()
	if known {
		return true
	}
	id, err := c.verify(ctx, ref)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.met("a file of the cache does not match its record, fetching its object again", ref, fmt.Errorf("%s: %w", c.path(ref.SHA256), err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.setSize(f, ref.Size)
		f.verified, f.recalled, f.identity = true, false, id
		return true
	}
	// Best effort: a file that cannot be removed is replaced by the download's rename.
	_ = c.remove(ref.SHA256, f)
	return false
}

// verify reads the file of ref through, and says which one that was.
func (c *Cache) verify(ctx context.Context, ref Ref) (id fileIdentity, err error) {
	r, info, err := openRegular(c.path(ref.SHA256))
	if err != nil {
		return id, err
	}
	defer r.Close()
	sum := sha256.New()
	if info.Size() != ref.Size {
		return id, ErrCorrupt
	}
	if _, err := io.Copy(c.pace.writer(ctx, sum), r); err != nil {
		return id, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != ref.SHA256 {
		return id, ErrCorrupt
	}
	id, _ = identityOf(info)
	return id, nil
}

// write creates the file of ref from what fill writes, under its name only when complete and flushed.
func (c *Cache) write(ref Ref, f *cacheFile, fill func(io.Writer) error) error {
	if err := c.reserve(ref, f); err != nil {
		return err
	}
	err := c.writeFile(c.path(ref.SHA256), fill)
	var id fileIdentity
	if info, statErr := os.Lstat(c.path(ref.SHA256)); statErr == nil {
		id, _ = identityOf(info)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		f.verified, f.recalled, f.identity = true, false, id
		return nil
	}
	c.recount(ref.SHA256, f)
	return fmt.Errorf("cache object %q: %w", ref.Key, classifyOS(err))
}

func (c *Cache) writeFile(path string, fill func(io.Writer) error) error {
	temp, err := createTemp(c.dir)
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails after the rename, as it should
	err = fill(temp)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// reserve counts the bytes of ref as present before they are, so that concurrent writers cannot exceed the bound together.
// It removes unused files, longest unused first, until ref fits.
func (c *Cache) reserve(ref Ref, f *cacheFile) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setSize(f, ref.Size)
	if c.maxBytes == 0 || c.bytes <= c.maxBytes {
		return nil
	}
	var idle []string
	for name, f := range c.files {
		if f.users == 0 {
			idle = append(idle, name)
		}
	}
	slices.SortFunc(idle, func(a, b string) int { return cmp.Compare(c.files[a].lastUse, c.files[b].lastUse) })
	for _, name := range idle {
		if err := c.remove(name, c.files[name]); err != nil {
			c.recount(ref.SHA256, f)
			return err
		}
		if c.bytes <= c.maxBytes {
			return nil
		}
	}
	c.recount(ref.SHA256, f)
	return fmt.Errorf("cache object %q of %d bytes: %w: %d of %d bytes are in use: raise the cache size",
		ref.Key, ref.Size, ErrCacheFull, c.bytes, c.maxBytes)
}

// remove deletes a file, if it is there, and forgets it unless someone is about to write it. mu is held.
func (c *Cache) remove(name string, f *cacheFile) error {
	if err := os.Remove(c.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cache: %w", classifyOS(err))
	}
	c.setSize(f, 0)
	f.verified, f.recalled, f.mapping = false, false, nil // who has it mapped keeps that, and who fetches it next gets another
	if f.users == 0 {
		delete(c.files, name)
	}
	return nil
}

// recount makes the size that of the file that is there, after one that was reserved for came to nothing: there may be an older one, or
// that of somebody who wrote it meanwhile. mu is held.
func (c *Cache) recount(name string, f *cacheFile) {
	size := int64(0)
	if info, err := os.Lstat(c.path(name)); err == nil && info.Mode().IsRegular() { // scratch memory has no name
		size = info.Size()
	}
	c.setSize(f, size)
}

// setSize keeps the sum right. mu is held.
func (c *Cache) setSize(f *cacheFile, size int64) {
	c.bytes += size - f.size
	f.size = size
}

func (c *Cache) path(name string) string { return filepath.Join(c.dir, name) }
