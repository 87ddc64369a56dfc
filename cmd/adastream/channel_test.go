package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// channelTest is an index in a directory with generations 1 to 5, of which 1, 2 and 4 have been served and 5 is held back.
type channelTest struct {
	*testing.T
	storage cli.Store
	index   *commit.Log
}

func newChannelTest(t *testing.T) *channelTest {
	t.Helper()
	c := &channelTest{T: t, storage: cli.Store{Store: t.TempDir()}}
	b, err := store.Open(t.Context(), c.storage.Store, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	spec := schemas.Spec{Name: "test", Ladder: []int{8, 16}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 1}}.WithDefaults()
	if err := commit.Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
	if c.index, err = commit.Open(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for g := range int64(5) {
		m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: g + 1, Parent: g, Builder: "b", Checkpoint: map[string]int64{}}
		if g == 4 {
			m.Quality = &schemas.Quality{Measured: 5, Reason: "codes are damaged"}
		}
		if err := c.index.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []int64{1, 2, 4} {
		c.promote(g, "builder")
	}
	return c
}

func (c *channelTest) newest() *schemas.Channel {
	c.Helper()
	now, err := c.index.Channel(c.Context(), 0)
	if err != nil {
		c.Fatal(err)
	}
	return now
}

// promote is what somebody else does.
func (c *channelTest) promote(generation int64, by string) {
	c.Helper()
	if _, err := c.index.Promote(c.Context(), c.newest(), schemas.Channel{Generation: generation, Reason: "theirs", By: by}); err != nil {
		c.Fatal(err)
	}
}

type runner interface {
	Run(context.Context, *cli.Logging) error
}

func TestChannelCommands(t *testing.T) {
	c := newChannelTest(t)
	for _, step := range []struct {
		name       string
		command    runner
		generation int64
		pinned     bool
		fault      string // of a call that changes nothing
	}{
		{"pin what is served", &snapshotPinCommand{Index: cli.Index{Store: c.storage}, Current: true, Reason: "r"}, 4, true, ""},
		{"roll back", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, 2, true, ""},
		{"roll back further", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, 1, true, ""},
		{"roll back from the first", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, 0, false, "no generation older than 1"},
		{"unpin", &snapshotUnpinCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, 1, false, ""},
		{"unpin again", &snapshotUnpinCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, 0, false, "not pinned"},
		{"promote", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Generation: 5, Reason: "r"}, 5, false, ""},
		{"roll back to one that was never served", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Generation: 3, Reason: "r"}, 3, true, ""},
		{"roll back forwards", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Generation: 4, Reason: "r"}, 0, false, "not older than 3"},
		{"promote unpins", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Generation: 3, Reason: "r"}, 3, false, ""},
		{"promote what is not there", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Generation: 6, Reason: "r"}, 0, false, "generation 6: there is none"},
		{"pin nothing", &snapshotPinCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, 0, false, "--current"},
		{"pin two", &snapshotPinCommand{Index: cli.Index{Store: c.storage}, Current: true, Generation: 3, Reason: "r"}, 0, false, "--current"},
	} {
		before := c.newest()
		err := step.command.Run(t.Context(), &cli.Logging{})
		now := c.newest()
		if step.fault != "" {
			if err == nil || !strings.Contains(err.Error(), step.fault) || now.Sequence != before.Sequence {
				t.Errorf("%s: %v, channel %+v, want an error with %q and nothing changed", step.name, err, now, step.fault)
			}
			continue
		}
		if err != nil || now.Sequence != before.Sequence+1 || now.Generation != step.generation || now.Pinned != step.pinned || now.Reason != "r" || !now.ByOperator() {
			t.Errorf("%s: %v, channel %+v, want generation %d, pinned %v", step.name, err, now, step.generation, step.pinned)
		}
	}
}

// What a collection gives up between the listing and the reading of it is no fault, what is missing otherwise is.
func TestStillKept(t *testing.T) {
	c := newChannelTest(t)
	c.promote(5, "builder")
	c.output(&snapshotGCCommand{Index: cli.Index{Store: c.storage}, Yes: true})
	for g, want := range map[int64]bool{1: false, 4: false, 5: true, 6: true} {
		if m, err := stillKept(t.Context(), c.index, g); err != nil || (m != nil) != want {
			t.Errorf("generation %d: %v, %v", g, m, err)
		}
	}
	if m, err := stillKept(t.Context(), c.index, 7); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, %v", m, err)
	}
}

// gc says what it would do, does it when it is told to, and leaves nothing to go back to but what it kept.
func TestGCCommand(t *testing.T) {
	c := newChannelTest(t)
	c.promote(5, "builder")
	count := func() (n int) {
		for _, err := range c.index.Manifests(t.Context()) {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	for _, command := range []runner{&snapshotGCCommand{Index: cli.Index{Store: c.storage}}, &snapshotGCCommand{Index: cli.Index{Store: c.storage}, KeepFor: -1, Yes: true}} {
		if _, err := c.outputOf(command); err == nil || !strings.Contains(err.Error(), "--") {
			t.Errorf("%+v: %v", command, err)
		}
	}
	out := c.output(&snapshotGCCommand{Index: cli.Index{Store: c.storage}, DryRun: true})
	if n := count(); n != 5 || !strings.Contains(out, "would remove 0 objects (0 bytes), and the records of 4 generations, 3 promotions and 0 commits\nkept 1 generation, ") {
		t.Errorf("%d generations are left after a dry run, which prints:\n%s", n, out)
	}
	out = c.output(&snapshotGCCommand{Index: cli.Index{Store: c.storage}, Yes: true})
	if n := count(); n != 2 || !strings.Contains(out, "removed 0 objects (0 bytes), and the records of 4 generations, 3 promotions") {
		t.Errorf("%d generations are left, and it prints:\n%s", n, out) // the one that is served, and the fence
	}
	if _, err := c.outputOf(&snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}); err == nil || !strings.Contains(err.Error(), "no generation older than 5 was ever served and is kept") {
		t.Errorf("rollback to what is gone: %v", err)
	}
	if out := c.output(&snapshotLsCommand{Index: cli.Index{Store: c.storage}, Last: 9}); !strings.Contains(out, "serving generation 5, by builder") {
		t.Errorf("snapshot ls:\n%s", out)
	}
}

// epoch makes an epoch of another encoder with one generation, which its builder has promoted if it is said.
func (c *channelTest) epoch(name string, promoted bool) {
	c.Helper()
	place := store.Under(c.index.Bucket(), "epochs/"+name)
	spec := schemas.Spec{Name: "test-" + name, Ladder: []int{8, 24}, Encoder: "e-" + name, Topic: schemas.Topic{Name: "u", Partitions: 1}}.WithDefaults()
	if err := commit.Create(c.Context(), place, &spec); err != nil {
		c.Fatal(err)
	}
	index, err := commit.Open(c.Context(), place)
	if err != nil {
		c.Fatal(err)
	}
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "b", Checkpoint: map[string]int64{}, LiveRows: 77}
	if err := index.Publish(c.Context(), m); err != nil {
		c.Fatal(err)
	}
	if !promoted {
		return
	}
	if _, err := index.Promote(c.Context(), nil, schemas.Channel{Generation: 1, Reason: "built", By: "b"}); err != nil {
		c.Fatal(err)
	}
}

// An epoch is promoted with one record and left with one, which goes back to what was served before it, as it was.
func TestEpochCommands(t *testing.T) {
	c := newChannelTest(t)
	c.epoch("two", true)
	c.epoch("three", true)
	c.epoch("unborn", false)
	const two = "generation 1 of epoch two: encoder e-two, 24 dimensions, 77 rows"
	const root = "generation 4: encoder e, 16 dimensions, 0 rows"
	for _, step := range []struct {
		name    string
		command runner
		want    schemas.Channel // but for the sequence and who and when
		prints  []string
		fault   string // of a call that changes nothing
	}{
		{"none", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "four", Reason: "r"}, schemas.Channel{}, nil, "epoch four: open index in "},
		{"nothing promoted", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "unborn", Reason: "r"}, schemas.Channel{}, nil, "epoch unborn: no generation has been promoted"},
		{"no name", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "../two", Reason: "r"}, schemas.Channel{}, nil, "allowed: 1 to 128 letters"},
		{"both", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "two", Generation: 1, Reason: "r"}, schemas.Channel{}, nil, "generation and --epoch"},
		{"neither", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, schemas.Channel{}, nil, "generation and --epoch"},
		{"promote", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "two", Reason: "r"}, schemas.Channel{Epoch: "two"},
			[]string{"from " + root + "\n  to " + two + "\n", "serving epoch two, by ", "before: generation 4, by builder"}, ""},
		{"ls", &snapshotLsCommand{Index: cli.Index{Store: c.storage}, Last: 9}, schemas.Channel{}, []string{"serving epoch two, by ", "which is " + two + "\n"}, "-"},
		{"pin what is served", &snapshotPinCommand{Index: cli.Index{Store: c.storage}, Current: true, Reason: "r"}, schemas.Channel{}, nil, "epoch two is served: pin a generation of it in its own store"},
		{"unpin", &snapshotUnpinCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, schemas.Channel{}, nil, "not pinned"},
		{"roll back", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, schemas.Channel{Generation: 4},
			[]string{"from " + two + "\n  to " + root + "\n", "serving generation 4, by "}, ""},
		{"roll back further", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, schemas.Channel{Generation: 2, Pinned: true}, nil, ""},
		{"promote over a pin", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "two", Reason: "r"}, schemas.Channel{Epoch: "two"}, nil, ""},
		{"promote it again", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "two", Reason: "again"}, schemas.Channel{Epoch: "two"}, nil, ""},
		{"promote another", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "three", Reason: "r"}, schemas.Channel{Epoch: "three"}, nil, ""},
		{"roll back to an epoch", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"}, schemas.Channel{Epoch: "two"}, nil, ""},
		{"roll back to a generation", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Generation: 2, Reason: "r"}, schemas.Channel{Generation: 2, Pinned: true}, nil, ""},
		{"promote a last time", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Epoch: "two", Reason: "r"}, schemas.Channel{Epoch: "two"}, nil, ""},
	} {
		before := c.newest()
		out, err := c.outputOf(step.command)
		now := c.newest()
		for _, s := range step.prints {
			if !strings.Contains(out, s) {
				t.Errorf("%s prints no %q:\n%s", step.name, s, out)
			}
		}
		if step.fault != "" {
			if now.Sequence != before.Sequence || step.fault != "-" && (err == nil || !strings.Contains(err.Error(), step.fault)) {
				t.Errorf("%s: %v, channel %+v, want an error with %q and nothing changed", step.name, err, now, step.fault)
			}
			continue
		}
		if err != nil || now.Sequence != before.Sequence+1 || now.Generation != step.want.Generation || now.Epoch != step.want.Epoch || now.Pinned != step.want.Pinned || !now.ByOperator() {
			t.Errorf("%s: %v, channel %+v, want %+v", step.name, err, now, step.want)
		}
	}
	if err := c.index.Bucket().Delete(t.Context(), "epochs/two/index.json"); err != nil {
		t.Fatal(err)
	}
	out := c.output(&snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, Reason: "r"})
	if now := c.newest(); now.Generation != 2 || !now.Pinned || !strings.Contains(out, "from epoch two: open index in ") {
		t.Errorf("an epoch that cannot be read is left for %+v, which prints:\n%s", now, out)
	}
}

// What is held back is listed with the reason, and who serves it is told.
func TestHeldBackIsTold(t *testing.T) {
	c := newChannelTest(t)
	if out := c.output(&snapshotLsCommand{Index: cli.Index{Store: c.storage}, Last: 2}); !strings.Contains(out, "held back: codes are damaged\n") || !strings.Contains(out, "serving generation 4, by builder") {
		t.Errorf("snapshot ls:\n%s", out)
	}
	held := &schemas.Manifest{Generation: 5, Quality: &schemas.Quality{Reason: "codes are damaged"}}
	if _, err := heldBack(held, c.newest()); err == nil || err.Error() != "codes are damaged" {
		t.Errorf("doctor: %v", err)
	}
	if out := c.output(&snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, Generation: 5, Reason: "r"}); !strings.Contains(out, "despite the quality gate: codes are damaged\n") {
		t.Errorf("snapshot promote:\n%s", out)
	}
	if out := c.output(&snapshotLsCommand{Index: cli.Index{Store: c.storage}, Last: 2}); !strings.Contains(out, "stable, held back: codes are damaged\n") || !strings.Contains(out, "serving generation 5, by ") {
		t.Errorf("snapshot ls afterwards:\n%s", out)
	}
	if good, err := heldBack(held, c.newest()); err != nil || !strings.HasSuffix(good, ": codes are damaged") {
		t.Errorf("doctor afterwards: %q, %v", good, err)
	}
}

// output is what a command prints that ends well.
func (c *channelTest) output(command runner) string {
	c.Helper()
	out, err := c.outputOf(command)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

// outputOf is what a command prints, and how it ends.
func (c *channelTest) outputOf(command runner) (string, error) {
	c.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		c.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	err = command.Run(c.Context(), &cli.Logging{})
	os.Stdout = stdout
	w.Close()
	out, readErr := io.ReadAll(r)
	if readErr != nil {
		c.Fatal(readErr)
	}
	return string(out), err
}
