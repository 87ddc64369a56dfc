package cmd

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// TestEventsSurviveKills: whoever tells of promotions is killed again and again, sometimes while another one tells too, and the topic has
// all of them in order; what is there twice is the same under one key.
func TestEventsSurviveKills(t *testing.T) {
	f := newFleetTest(t)
	b, err := store.Open(t.Context(), f.storage, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	index, err := commit.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	const promotions = 120
	topic, rng := f.topic+"-events", rand.New(rand.NewPCG(1, 2))
	args := []string{"snapshot", "events", "--store", f.storage, "--brokers", f.brokers, "--topic", topic, "--poll-every", "5ms", "--replication", "1"}
	client, err := source.New(source.Options{Brokers: []string{f.brokers}, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	f.run(append(args, "--once")...) // makes the topic
	defer sourcetest.DeleteTopic(t, client)

	made := make(chan error, 1)
	go func() { made <- promoteMany(t, index, promotions) }()
	kills := 0
	for done := false; !done; kills++ {
		var tellers []*fleet.Process
		for range 1 + kills%2 {
			p, err := f.bin.Start("adastream", nil, args...)
			if err != nil {
				t.Fatal(err)
			}
			tellers = append(tellers, p)
		}
		select {
		case err := <-made:
			if done = true; err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Duration(100+rng.IntN(400)) * time.Millisecond):
		}
		for _, p := range tellers {
			p.Kill()
		}
	}
	f.run(append(args, "--once")...)

	first, values := []int64{}, map[string]string{}
	doubles := 0
	for at, end := int64(0), endOf(t, client); at < end; {
		batch, err := client.Fetch(t.Context(), 0, at, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.Records {
			key, value := string(r.Key), string(r.Value)
			if before, twice := values[key]; twice {
				if doubles++; before != value {
					t.Errorf("%s is told as %s and as %s", key, before, value)
				}
				continue
			}
			var e schemas.Event
			if err := json.Unmarshal(r.Value, &e); err != nil || e.Generation != e.Sequence || e.Snapshot == nil || !strings.HasSuffix(key, fmt.Sprintf("/%020d", e.Sequence)) {
				t.Errorf("%s: %s: %v", key, value, err)
			}
			values[key], first = value, append(first, e.Sequence)
		}
		at = batch.Next
	}
	t.Logf("%d events, %d of them doubles, %d kills", len(first)+doubles, doubles, kills)
	for i, sequence := range first {
		if sequence != int64(i)+1 {
			t.Fatalf("event %d is of promotion %d: %v", i, sequence, first)
		}
	}
	if len(first) != promotions || kills < 3 {
		t.Errorf("%d promotions are told after %d kills, want %d", len(first), kills, promotions)
	}
}

func endOf(t *testing.T, client *source.Client) int64 {
	t.Helper()
	bounds, err := client.Bounds(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return bounds.End
}

// promoteMany publishes generations and has each served.
func promoteMany(t *testing.T, index *commit.Log, n int64) error {
	var seen *schemas.Channel
	for g := int64(1); g <= n; g++ {
		m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: g, Parent: g - 1, Builder: "b", Created: time.Now().UTC(), Checkpoint: map[string]int64{}}
		if err := index.Publish(t.Context(), m); err != nil {
			return err
		}
		var err error
		if seen, err = index.Promote(t.Context(), seen, schemas.Channel{Generation: g, Reason: "built", By: "b"}); err != nil {
			return err
		}
		time.Sleep(25 * time.Millisecond)
	}
	return nil
}
