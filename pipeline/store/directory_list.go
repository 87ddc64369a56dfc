package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
)

// List implements Bucket.
func (d *directory) List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		dir := prefix[:strings.LastIndexByte(prefix, '/')+1] // the deepest directory that holds all of it; "" is the root
		if dir != "" {
			if err := checkKey(strings.TrimSuffix(dir, "/")); err != nil {
				yield(Info{}, fmt.Errorf("list: prefix: %w", err))
				return
			}
		}
		w := walk{d, ctx, prefix, startAfter, yield}
		w.visit(dir)
	}
}

// walk is one listing. Its visit is a depth-first walk in key order.
type walk struct {
	d                  *directory
	ctx                context.Context
	prefix, startAfter string
	yield              func(Info, error) bool
}

// visit lists the directory of the key prefix dir, which is "" or ends in '/'. It says whether to go on.
//
// Plain name order would be wrong: the directory "a" stands for keys that begin with "a/", which sort after the
// object "a-b" because '-' < '/'. So a directory sorts by its name with the slash.
func (w walk) visit(dir string) bool {
	entries, err := os.ReadDir(w.d.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		w.yield(Info{}, w.d.fail("list", err))
		return false
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	for _, entry := range entries {
		if err := w.ctx.Err(); err != nil {
			w.yield(Info{}, fmt.Errorf("list %s: %w", w.d.path(dir), err))
			return false
		}
		key := dir + sortName(entry)
		switch {
		case entry.IsDir():
			if entry.Name() != tempDir && w.mayHold(key) && !w.visit(key) {
				return false
			}
		case entry.Type().IsRegular() && strings.HasPrefix(key, w.prefix) && key > w.startAfter && checkKey(key) == nil:
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted since
			}
			if err != nil {
				w.yield(Info{}, w.d.fail("list", err))
				return false
			}
			if !w.yield(Info{key, info.Size(), info.ModTime()}, nil) {
				return false
			}
		}
	}
	return true
}

// mayHold says whether a directory, given as a key prefix with its slash, can hold keys to list.
func (w walk) mayHold(dir string) bool {
	if !strings.HasPrefix(dir, w.prefix) && !strings.HasPrefix(w.prefix, dir) {
		return false
	}
	return dir > w.startAfter || strings.HasPrefix(w.startAfter, dir)
}

func sortName(entry fs.DirEntry) string {
	if entry.IsDir() {
		return entry.Name() + "/"
	}
	return entry.Name()
}
