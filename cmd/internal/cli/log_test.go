package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// At SIGHUP a daemon takes its log level from the file, says which other flags want a restart, and goes on if the file is broken.
func TestHangup(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "c.yaml", []byte("log-level: info\nflush-age: 1s\nkafka-password: a\n"))
	args := []string{"--config", file, "--store=/s", "--brokers=a:1", "--flush-rows=5"}
	var i Ingestor
	parser, err := newParser("ingestor", &i)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	i.reread = func() (map[string]any, error) { return flagsOf("ingestor", &i, args) }
	i.Logger()
	out := &lockedBuffer{}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: i.level}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	i.Follow(ctx, log)
	await := func(what, file string, words ...string) {
		t.Helper()
		before := len(out.String())
		writeFile(t, dir, "c.yaml", []byte(file))
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			said, missing := out.String()[before:], ""
			for _, w := range words {
				if !strings.Contains(said, w) {
					missing = w
				}
			}
			if missing == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q is not in %q", what, missing, said)
			}
		}
	}
	await("another level", "log-level: debug\nflush-age: 1s\nkafka-password: a\n", "flags reloaded", "log_level=DEBUG")
	if !log.Enabled(ctx, slog.LevelDebug) {
		t.Error("the level has not changed")
	}
	await("a broken file", "log-level: [\n", "nothing was changed")
	await("an unknown name", "log-levl: info\n", "nothing was changed", "log-level")
	await("what cannot change", "log-level: debug\nflush-age: 2s\nflush-rows: 7\nkafka-password: s3cret\n", "restart", `flags="[flush-age kafka-password]"`)
	await("back to the default", "flush-age: 2s\nkafka-password: a\n", "log_level=INFO", `flags=[flush-age]`)
	if strings.Contains(out.String(), "s3cret") {
		t.Errorf("the password is in the log: %s", out)
	}
}

// JSON has durations with their unit, and stores and addresses by name, as text has.
func TestJSONSaysWhatTextDoes(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{ReplaceAttr: readable}))
	log.Info("m", "took", 1500*time.Microsecond, "addr", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, "error", errors.New("e"), "rows", 3, "list", []string{"a"})
	for _, want := range []string{`"level":"INFO"`, `"took":"1.5ms"`, `"addr":"127.0.0.1:80"`, `"error":"e"`, `"rows":3`, `"list":["a"]`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s lacks %s", b.String(), want)
		}
	}
}
