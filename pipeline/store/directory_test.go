package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/store"
)

// racerVar makes the test binary one of the processes of TestDirectory_manyProcesses: its value is the directory.
const racerVar = "ADASTREAM_TEST_RACE_DIRECTORY"

const (
	raceProcesses  = 3
	raceGoroutines = 8
	raceKeys       = 200
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(racerVar); dir != "" {
		if err := raceProcess(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// raceProcess creates the keys in several goroutines, each of which tries all of them, and prints how often it won.
func raceProcess(dir string) error {
	var won atomic.Int64
	var g errgroup.Group
	for i := range raceGoroutines {
		g.Go(func() error {
			ctx := context.Background()
			b, err := store.Open(ctx, dir, store.Options{})
			if err != nil {
				return err
			}
			for key := range raceKeys {
				err := b.PutIfAbsent(ctx, fmt.Sprintf("race/%d/%d", key/50, key), fmt.Appendf(nil, "%d %d", os.Getpid(), i))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, store.ErrExists) {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Print(won.Load())
	return nil
}

func TestDirectory_manyProcesses(t *testing.T) {
	dir := t.TempDir()
	var total atomic.Int64
	var g errgroup.Group
	for range raceProcesses {
		g.Go(func() error {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), racerVar+"="+dir)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return err
			}
			won, err := strconv.Atoi(string(out))
			total.Add(int64(won))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if total.Load() != raceKeys {
		t.Errorf("%d winners of %d keys", total.Load(), raceKeys)
	}
	if left := tempFiles(t, dir); len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func tempFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".tmp"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestDirectory_sweepsOldTempFiles(t *testing.T) {
	dir := t.TempDir()
	temp := filepath.Join(dir, ".tmp")
	if err := os.Mkdir(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"dead": 2 * time.Hour, "alive": time.Minute} {
		path := filepath.Join(temp, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, store.Options{})
	if left := tempFiles(t, dir); len(left) != 1 || left[0] != "alive" {
		t.Errorf("left %v, want only that of a live process", left)
	}
}

// A key that is a path prefix of another is refused, and neither destroys the other.
func TestDirectory_pathPrefix(t *testing.T) {
	b := open(t, t.TempDir(), store.Options{})
	for _, pair := range [][2]string{{"a", "a/b"}, {"c/d", "c"}, {"e", "e/f/g"}} {
		if err := b.PutIfAbsent(t.Context(), pair[0], []byte("first")); err != nil {
			t.Fatal(err)
		}
		err := b.PutIfAbsent(t.Context(), pair[1], []byte("second"))
		if err == nil || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrTransient) || !strings.Contains(err.Error(), "path prefix") {
			t.Errorf("put %q beside %q = %v, want an error about the path prefix", pair[1], pair[0], err)
		}
		if body, err := b.Get(t.Context(), pair[0]); err != nil || string(body) != "first" {
			t.Errorf("get %q = %q, %v", pair[0], body, err)
		}
		if _, err := b.Get(t.Context(), pair[1]); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("get %q = %v, want ErrNotFound", pair[1], err)
		}
		if err := b.Delete(t.Context(), pair[1]); err != nil {
			t.Errorf("delete %q = %v, want nil: there is no such object", pair[1], err)
		}
	}
}

// An operator may clear directories under a running process.
func TestDirectory_removedUnderneath(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, store.Options{})
	for _, victim := range []string{"a/b", "a", ".tmp"} {
		if err := b.PutIfAbsent(t.Context(), "a/b/c", []byte("body")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, victim)); err != nil {
			t.Fatal(err)
		}
		if err := b.PutIfAbsent(t.Context(), "a/b/d", []byte(victim)); err != nil && !errors.Is(err, store.ErrExists) {
			t.Errorf("put after %s was removed: %v", victim, err)
		}
		if err := b.Delete(t.Context(), "a/b/d"); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := b.PutIfAbsent(t.Context(), "k", nil); !errors.Is(err, store.ErrDenied) {
		t.Errorf("put after the store was removed = %v, want ErrDenied", err)
	}
}

func TestDirectory_unusablePlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{file, filepath.Join(file, "sub")} {
		if b, err := store.Open(t.Context(), place, store.Options{}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("Open(%s) = %v, %v, want an error that names it", place, b, err)
		}
	}
}
