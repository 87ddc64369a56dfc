package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// terminal makes standard error a terminal, until it is asked what was written there.
func terminal(t *testing.T) func() string {
	t.Helper()
	mine, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer mine.Close()
	if err := unix.IoctlSetPointerInt(int(mine.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(mine.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	fd, err := unix.Dup(int(mine.Fd())) // one that Go may wait for
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	reader := os.NewFile(uintptr(fd), "terminal")
	all := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, reader) // ends with an error when the other side is closed
		all <- b.String()
	}()
	stderr := os.Stderr
	os.Stderr = screen
	return func() string {
		os.Stderr = stderr
		screen.Close()
		text := <-all
		reader.Close()
		return text
	}
}

// Long work shows how far it is where a person sees it, and nothing of that where its standard error goes elsewhere.
func TestProgressIsForTerminals(t *testing.T) {
	old := newChannelTest(t)
	topic := sourcetest.Topic(t, 2, nil)
	file := filepath.Join(t.TempDir(), "rows.arrows")
	if err := os.WriteFile(file, payloadOf(t, `[{"id":"a","vector":[1,2,3,4,5,6,7,8]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	rows, queries := writeLabelled(t, 200, 1), writeLabelled(t, 20, 2)
	trip := newTripTest(t, "cosine")
	trip.send(30)
	built := ""
	offsets := func() error {
		built = t.TempDir()
		return (&rebuildOffsetsCommand{rebuildInto: rebuildInto{Index: cli.Index{Store: trip.storage}, To: built, Dir: t.TempDir()}, Kafka: trip.kafka}).Run(t.Context(), &cli.Logging{})
	}
	for _, c := range []struct {
		name  string
		run   func() error
		shows string // on a terminal
	}{
		{"produce", func() error {
			return (&produceCommand{Kafka: cli.Kafka{Brokers: topic.Options().Brokers}, Topic: topic.Options().Topic, Rows: 10, Files: []string{file}}).Run(t.Context(), &cli.Logging{})
		}, file},
		{"eval", func() error {
			return (&evalCommand{Rows: rows, Queries: queries, Vector: "vector", Timing: time.Microsecond, Seed: 1, Systems: []string{"MRL"}}).Run(t.Context())
		}, "MRL 100%"},
		{"snapshot gc", func() error {
			old.promote(5, "builder") // the one before may go
			return (&snapshotGCCommand{Index: cli.Index{Store: old.storage}, Yes: true}).Run(t.Context(), &cli.Logging{})
		}, "removed 100%"},
		{"rebuild from-offsets", offsets, "served offsets 100%"},
		{"verify", func() error {
			return (&verifyCommand{Index: cli.Index{Store: cli.Store{Store: built}}, Dir: t.TempDir()}).Run(t.Context(), &cli.Logging{})
		}, "read "},
		{"rebuild from-segments", func() error {
			return (&rebuildSegmentsCommand{rebuildInto{Index: cli.Index{Store: cli.Store{Store: built}}, To: t.TempDir(), Dir: t.TempDir()}}).Run(t.Context(), &cli.Logging{})
		}, "read 100%"},
	} {
		for where, watch := range map[string]func(*testing.T) func() string{"a file": stderrOf, "a terminal": terminal} {
			shown := watch(t)
			var err error
			out := stdout(t, func() error { err = c.run(); return nil })
			text := shown()
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if got := strings.Contains(text, c.shows) && strings.Contains(text, "\r"); got != (where == "a terminal") || strings.Contains(out, "\r") {
				t.Errorf("%s shows %q on %s, and prints %q", c.name, text, where, out)
			}
			before := map[string]string{"a file": "", "a terminal": "\r\x1b[K"}[where] // a record takes the line of the bar
			if strings.Count(text, before+"time=") != strings.Count(text, "level=") || strings.Contains(text, "\x1b") && where == "a file" {
				t.Errorf("%s logs %q on %s", c.name, text, where)
			}
		}
	}
}
