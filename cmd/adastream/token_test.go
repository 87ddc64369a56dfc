package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/access"
)

// Lines are added to what is there; a file that nodes would refuse is left as it was, with its rights.
func TestTokenNewAddsToFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	add := func(name string) error {
		c := tokenNewCommand{Name: name, Scope: []access.Scope{access.Search}, TokensFile: path}
		return c.Run()
	}
	if err := add("one"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("rights %v, %v", info.Mode(), err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("# by hand\n"+strings.TrimSpace(string(body))), 0o600); err != nil { // no line end
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := add("two"); err != nil {
		t.Fatal(err)
	}
	if body, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(string(body), "\n"); len(lines) != 4 || lines[0] != "# by hand" || !strings.HasPrefix(lines[1], "one ") || !strings.HasPrefix(lines[2], "two ") {
		t.Errorf("the file is\n%s", body)
	}
	if info, err = os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("rights %v, %v", info.Mode(), err)
	}
	if err := add("two"); err == nil || !strings.Contains(err.Error(), "two") {
		t.Errorf("a name twice: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(body) {
		t.Errorf("a refused line changed the file to %s, %v", after, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("files %v, %v", entries, err)
	}
}

// Of several that add a line at a time none is lost, and what one that was killed has left is named.
func TestTokenNewAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	add := func(name string) error {
		return (&tokenNewCommand{Name: name, Scope: []access.Scope{access.Search}, TokensFile: path}).Run()
	}
	stdout(t, func() error {
		var adding errgroup.Group
		for i := range 20 {
			adding.Go(func() error { return add(fmt.Sprint("n", i)) })
		}
		return adding.Wait()
	})
	body, err := os.ReadFile(path)
	if n := strings.Count(string(body), "\n"); err != nil || n != 20 {
		t.Errorf("%d lines of 20, %v", n, err)
	}
	if _, err := access.OpenTokens(path); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		if err := add("late"); err == nil || !strings.Contains(err.Error(), "tokens.new: ") {
			t.Errorf("%v, want the file that is in the way", err)
		}
	})
	if after, err := os.ReadFile(path); err != nil || string(after) != string(body) {
		t.Errorf("%s, %v", after, err)
	}
}
