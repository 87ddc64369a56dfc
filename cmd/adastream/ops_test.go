package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
)

// Who tells of promotions can be asked how far he is, and is ready once he has looked.
func TestEventsHaveAnOpsPort(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	b, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loadIndex(t, b)
	c := snapshotEventsCommand{Store: cli.Store{Store: dir}, Kafka: cli.Kafka{Brokers: sourcetest.Brokers(t)}, Topic: "events", Replication: 1,
		PollEvery: 10 * time.Millisecond, Ops: freeAddress(t)}
	c.KafkaSASL = "none"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, &cli.Logging{LogFormat: "text"}) }()
	awaitMetrics(t, "http://"+c.Ops+"/readyz", ended)
	if page := awaitMetrics(t, "http://"+c.Ops+"/metrics", ended); !strings.Contains(page, `adastream_events_lag_seconds{shard="0"} 0`) {
		t.Errorf("metrics: %s", page)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := c.Run(ctx, &cli.Logging{LogFormat: "text"}); err != nil {
		t.Errorf("told to stop while it starts: %v", err)
	}
	c.Once = true
	if err := c.Run(ctx, &cli.Logging{LogFormat: "text"}); err == nil {
		t.Error("one that is to tell all ended well when it was stopped")
	}
}
