package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// tempDir is where a directory store (and a Cache) writes files before they get their name.
const tempDir = ".tmp"

// tempAge is when a temporary file is certainly a dead process's leftover: a live one writes its file in one go.
const tempAge = time.Hour

// directory is a Bucket in a directory of a local file system, or of a network one that has hard links.
//
// An object is written to a temporary file, flushed, and then hard-linked to its name. link(2) fails if the name exists,
// atomically and between processes, which open(O_EXCL) would do too early (the file is not complete) and rename(2) not at
// all. The directory is flushed before the call returns, also by a loser: what it reports as existing must not vanish in
// a power cut.
type directory struct {
	root  string   // absolute
	known sync.Map // path of a directory made and flushed, up to the root, by this process -> struct{}
}

func openDirectory(root string) (*directory, error) {
	d := &directory{root: root}
	if err := makeRoot(root); err != nil {
		return nil, fmt.Errorf("store directory: %w", classifyOS(err))
	}
	sweepTemp(root)
	return d, nil
}

// makeRoot makes a directory and those above it, each with its name flushed: what is put into it is to outlast a power cut.
func makeRoot(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeRoot(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	return syncDir(above)
}

// sweepTemp removes what dead processes left. It is housekeeping: where it may not delete, it leaves the files.
func sweepTemp(root string) {
	entries, err := os.ReadDir(filepath.Join(root, tempDir))
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > tempAge {
			os.Remove(filepath.Join(root, tempDir, entry.Name()))
		}
	}
}

func (d *directory) String() string { return "file://" + d.root }

func (d *directory) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

// fail wraps an error of the operating system, which names the path, with the operation and its class.
func (d *directory) fail(op string, err error) error {
	return fmt.Errorf("%s: %w", op, classifyOS(err))
}

// PutIfAbsent implements Bucket.
func (d *directory) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	path := d.path(key)
	if _, err := os.Lstat(path); err == nil {
		return d.settle(path, body) // spares a loser the writing
	}
	temp, err := d.writeTemp(body)
	if err != nil {
		return putFailure(err)
	}
	defer os.Remove(temp)
	if err := d.makeParents(path); err != nil {
		return putFailure(err)
	}
	err = os.Link(temp, path)
	if errors.Is(err, fs.ErrNotExist) { // someone removed the directory since this process made it
		d.known.Delete(filepath.Dir(path))
		if err = d.makeParents(path); err == nil {
			err = os.Link(temp, path)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return d.settle(path, body)
	}
	if err != nil {
		return putFailure(err)
	}
	return d.flushEntry(path)
}

// putFailure is the error of a put that an error of the operating system ended.
func putFailure(err error) error {
	switch {
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("put: one key may not be a path prefix of another: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("put: %w: the directory of the store was removed: %w", ErrDenied, err)
	default:
		return fmt.Errorf("put: %w", classifyOS(err))
	}
}

// settle compares the object that is there with body.
func (d *directory) settle(path string, body []byte) error {
	f, info, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put %s: deleted meanwhile: %w", path, ErrTransient)
	}
	if err != nil {
		return putFailure(err)
	}
	defer f.Close()
	same := info.Size() == int64(len(body))
	if same {
		if same, err = sameBytes(f, body); err != nil {
			return fmt.Errorf("put: read back: %w: %w", ErrUnknown, err)
		}
	}
	if err := d.flushEntry(path); err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("put %s: %w", path, ErrExists)
	}
	return nil
}

// flushEntry makes the name of an object durable. If that fails the object can be seen but may not last.
func (d *directory) flushEntry(path string) error {
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("put %s: flush its directory: %w: %w", path, ErrUnknown, err)
	}
	return nil
}

// writeTemp writes and flushes body under a temporary name.
func (d *directory) writeTemp(body []byte) (path string, err error) {
	f, err := createTemp(d.root)
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// createTemp creates a file in the temporary directory of root, readable by other users as far as the umask allows: a
// query node often runs as another user than the builder.
func createTemp(root string) (*os.File, error) {
	path := filepath.Join(root, tempDir, rand.Text())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
}

// makeParents creates the directory of path and flushes each entry on the way down from the root. A directory that is
// there already is flushed too when this process meets it for the first time: its maker may have died before doing so.
func (d *directory) makeParents(path string) error {
	dir := filepath.Dir(path)
	if len(dir) <= len(d.root) {
		return nil
	}
	if _, ok := d.known.Load(dir); ok {
		return nil
	}
	if err := d.makeParents(dir); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) { // its parent is known but was removed
		d.known.Delete(filepath.Dir(dir))
		if err = d.makeParents(dir); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	d.known.Store(dir, struct{}{})
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements Bucket.
func (d *directory) Get(ctx context.Context, key string) ([]byte, error) {
	r, size, err := d.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, d.fail("get", err)
	}
	return body, nil
}

// Open implements Bucket.
func (d *directory) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := begin(ctx, key); err != nil {
		return nil, 0, err
	}
	f, info, err := openRegular(d.path(key))
	if err != nil {
		return nil, 0, d.fail("open", err)
	}
	return f, info.Size(), nil
}

// Range implements Bucket.
func (d *directory) Range(ctx context.Context, key string, at, n int64) ([]byte, error) {
	if err := begin(ctx, key); err != nil {
		return nil, err
	}
	f, info, err := openRegular(d.path(key))
	if err != nil {
		return nil, d.fail("range", err)
	}
	defer f.Close()
	if at+n > info.Size() {
		return nil, short(d.path(key), at, n)
	}
	body := make([]byte, n)
	if _, err := f.ReadAt(body, at); err != nil {
		return nil, d.fail("range", err)
	}
	return body, nil
}

// Stat implements Bucket.
func (d *directory) Stat(ctx context.Context, key string) (Info, error) {
	if err := begin(ctx, key); err != nil {
		return Info{}, err
	}
	path := d.path(key)
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = notAnObject(path)
	}
	if err != nil {
		return Info{}, d.fail("stat", err)
	}
	return Info{key, info.Size(), info.ModTime()}, nil
}

// Delete implements Bucket. Directories stay: removing an empty one would race with a put into it.
func (d *directory) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	path := d.path(key)
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err = classifyOS(err); err == nil || errors.Is(err, ErrNotFound) {
		return nil
	}
	return fmt.Errorf("delete: %w", err)
}

func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notAnObject(path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func notAnObject(path string) error {
	return &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
}

// classifyOS adds the class to an error of the operating system. nil, and what has a class, stays as it is.
func classifyOS(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrTransient), errors.Is(err, ErrDenied), errors.Is(err, ErrCorrupt), errors.Is(err, ErrNotFound):
		return err
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		// "a/b" is asked for while "a" is an object, or the reverse. For a reader there is no such object.
		return fmt.Errorf("%w (one key is a path prefix of another): %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w; the directory must be writable and support hard links (many FUSE and SMB mounts do not): "+
			"change its owner, or use a local file system or S3", ErrDenied, err)
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EMLINK), errors.Is(err, syscall.EXDEV):
		return fmt.Errorf("%w: %w; the file system does not support hard links: use a local one or S3", ErrDenied, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EMFILE),
		errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN),
		errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", ErrTransient, err)
	default:
		return err
	}
}
