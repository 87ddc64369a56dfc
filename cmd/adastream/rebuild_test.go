package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// An index is made from its topic, another one from the objects of that, and scripts read what came of it, damage too.
func TestRebuildJSON(t *testing.T) {
	tt := newTripTest(t, "cosine")
	tt.send(30)
	first, second := t.TempDir(), t.TempDir()
	c := &rebuildOffsetsCommand{rebuildInto: rebuildInto{Index: cli.Index{Store: tt.storage}, To: first, Name: "first", Dir: t.TempDir(), JSON: true}, Kafka: tt.kafka}
	var got rebuilt
	out := tt.output(c)
	described(t, "rebuild-from-offsets", out, &got)
	if !strings.HasSuffix(got.Store, first) || got.Read != nil || got.Old != nil || got.Serving == nil || got.Serving.LiveRows != 30 || len(got.Serving.Checkpoint) != 3 {
		t.Errorf("from offsets: %s", out)
	}
	checkpoint := got.Serving.Checkpoint

	again := &rebuildSegmentsCommand{rebuildInto{Index: cli.Index{Store: cli.Store{Store: first}}, To: second, Name: "second", Dir: t.TempDir(), JSON: true}}
	got = rebuilt{}
	out = tt.output(again)
	described(t, "rebuild-from-segments", out, &got)
	if got.Read == nil || got.Read.Objects == 0 || got.Read.LiveRows != 30 || len(got.Read.Faults) != 0 || got.Old == nil || got.Old.LiveRows != 30 ||
		got.Serving == nil || got.Serving.LiveRows != 30 || !maps.Equal(got.Serving.Checkpoint, checkpoint) {
		t.Errorf("from segments: %s", out)
	}

	segments, err := filepath.Glob(filepath.Join(first, "segments", "*", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	if err := os.Truncate(segments[0], 100); err != nil {
		t.Fatal(err)
	}
	again.To = t.TempDir()
	got = rebuilt{}
	out, err = tt.outputOf(again)
	described(t, "rebuild-from-segments", out, &got)
	if err == nil || !strings.Contains(err.Error(), "1 objects are damaged") || got.Read == nil || len(got.Read.Faults) != 1 || got.Serving == nil || got.Serving.LiveRows >= 30 {
		t.Errorf("with a damaged object: %v, %s", err, out)
	}
}

// A flood that has been dealt with is in the log for good, and is no reason to wait for an operator while an index is made of it.
func TestRebuildFromOffsets_flood(t *testing.T) {
	tt := newTripTest(t, "cosine")
	garbage := make([]source.Message, 1100) // more than a partition takes of them
	for i := range garbage {
		garbage[i] = source.Message{Partition: i % 2, Value: []byte("no Arrow")}
	}
	producer := tt.topic().NewProducer(source.ProducerOptions{})
	for range 2 {
		if err := producer.Send(t.Context(), garbage...); err != nil {
			t.Fatal(err)
		}
	}
	producer.Close()
	tt.send(30)
	c := &rebuildOffsetsCommand{rebuildInto: rebuildInto{Index: cli.Index{Store: tt.storage}, To: t.TempDir(), Name: "made", Dir: t.TempDir(), JSON: true}, Kafka: tt.kafka}
	var got rebuilt
	described(t, "rebuild-from-offsets", tt.output(hurried{c}), &got)
	if got.Serving == nil || got.Serving.LiveRows != 30 {
		t.Errorf("serving %+v, want 30 rows", got.Serving)
	}
}

// A partition that has stopped does not come to its end: who rebuilds is told which one and why, if it is one that is waited for.
func TestAwaitStopped(t *testing.T) {
	c := newChannelTest(t)
	s := &site{to: c.index}
	stopped := func() map[int]error { return map[int]error{0: schemas.ErrCorrupt} }
	_, err := s.await(t.Context(), map[int]int64{0: 5}, stopped)
	if !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), "partition 0 stopped before offset 5: ") {
		t.Errorf("%v", err)
	}
	for name, ends := range map[string]map[int]int64{"another shard's": {}, "all is served": {0: 0}} {
		if m, err := s.await(t.Context(), ends, stopped); err != nil || m == nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// hurried is a command that has two minutes.
type hurried struct{ runner }

func (h hurried) Run(ctx context.Context, l *cli.Logging) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return h.runner.Run(ctx, l)
}
