package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/store"
)

// historyIn is an index in a directory with two generations at least, and between them changes of each kind.
func historyIn(t *testing.T) (h *buildtest.History, storage cli.Store, first, second int64) {
	t.Helper()
	storage = cli.Store{Store: t.TempDir()}
	b, err := store.Open(t.Context(), storage.Store, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h = buildtest.NewHistory(t, b, buildtest.HistorySpec(8, 16), 3)
	h.Commit(0, 60, 80)
	first = h.Build(nil).Generation
	h.Commit(1, 60, 120)
	return h, storage, first, h.Build(nil).Generation
}

func TestDiffCommand(t *testing.T) {
	_, storage, first, second := historyIn(t)
	c := &channelTest{T: t, storage: storage}
	lines := strings.Split(strings.TrimSpace(c.output(&snapshotDiffCommand{Index: cli.Index{Store: storage}, From: first, To: second})), "\n")
	documents := strings.Split(strings.TrimSpace(c.output(&snapshotDiffCommand{Index: cli.Index{Store: storage}, From: first, To: second, JSON: true})), "\n")
	var said []string
	for _, d := range documents {
		var got changed
		described(t, "snapshot-diff", d, &got)
		switch {
		case got.Op == "delete":
			said = append(said, "- "+got.ID)
		case got.New:
			said = append(said, "+ "+got.ID)
		default:
			said = append(said, "~ "+got.ID)
		}
	}
	slices.Sort(lines)
	slices.Sort(said)
	if !slices.Equal(lines, said) || lines[0][0] != '+' || lines[len(lines)-1][0] != '~' || !strings.Contains(strings.Join(lines, "\n"), "\n- ") {
		t.Errorf("lines: %q\nJSON: %q", lines, said)
	}
	newest := strings.Split(strings.TrimSpace(c.output(&snapshotDiffCommand{Index: cli.Index{Store: storage}, From: first})), "\n")
	if slices.Sort(newest); !slices.Equal(newest, lines) {
		t.Errorf("up to the newest: %q, want %q", newest, lines)
	}
	if _, err := c.outputOf(&snapshotDiffCommand{Index: cli.Index{Store: storage}, From: first, To: 99}); err == nil || !strings.Contains(err.Error(), "generation 99: ") || !strings.Contains(err.Error(), "snapshot ls") {
		t.Errorf("a generation that is not there: %v", err)
	}
}
