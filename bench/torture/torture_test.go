package main

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	seed     = flag.Uint64("seed", 1, "of the campaign")
	replicas = flag.Int("brokers", 1, "of its cluster: with 3 leaders move")
	duration = flag.Duration("duration", 75*time.Second, "no round begins after it; raise -timeout too")
)

// Whatever is done to processes, lines and store: nothing is lost, doubled, stale or refused.
func TestNothingIsLostUnderFaults(t *testing.T) {
	server := os.Getenv("ADASTREAM_TEST_S3")
	if server == "" || os.Getenv("ADASTREAM_TEST_BROKERS") == "" {
		t.Skip("ADASTREAM_TEST_S3 and ADASTREAM_TEST_BROKERS are not set: .ci/run starts both") // the broker is the campaign's own one, which it kills
	}
	totals, err := Run(t.Context(), Options{Store: server, Port: 21000, Brokers: *replicas, Seed: *seed, Duration: *duration,
		Size: size{window: 10 * time.Second, kills: 10, network: 10, store: 16, points: 8, clocks: 4, disks: 2, brokers: *replicas}, Damages: 2, Items: 5000, Rate: 800, Batch: 32, Pause: 20 * time.Millisecond,
		Dir: t.TempDir(), Out: t.Output()})
	t.Logf("seed %d\n%s", *seed, totals)
	if err != nil {
		t.Error(err)
	}
	for _, f := range totals.Faults {
		t.Error(f)
	}
	if err == nil && (totals.Kills == 0 || sum(totals.Network) == 0 || sum(totals.Store) == 0 || sum(totals.Points) == 0 || sum(totals.Clocks) == 0 || totals.Caught == 0 || totals.Queries == 0 || totals.Tokens == 0) {
		t.Error("something was not done at all")
	}
}

// A schedule depends on seed and round alone.
func TestDraw(t *testing.T) {
	s := size{window: time.Second, kills: 50, network: 50, store: 50, points: 50, clocks: 50, disks: 2, brokers: 3}
	for round := range 8 {
		a, b, other := draw(1, round, s), draw(1, round, s), draw(2, round, s)
		same := 0
		for i := range a {
			if a[i].String() != b[i].String() {
				t.Fatalf("round %d: %v and %v", round, a[i], b[i])
			}
			if i < len(other) && a[i].String() == other[i].String() {
				same++
			}
		}
		if same > len(a)/10 {
			t.Errorf("round %d: another seed makes %d equal events of %d", round, same, len(a))
		}
	}
}
