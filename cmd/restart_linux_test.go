package cmd

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
)

// A builder that is killed at random moments, or stopped, and started in the same directory, while rows come and go and its base is
// rewritten again and again: it begins from what was left there, and each id is there once, with its last version.
func TestBuilderStartsFromWhatIsLeft(t *testing.T) {
	f := newFleetTest(t)
	f.start("ingestor", "--brokers", f.brokers, "--flush-age", "50ms")
	dir := t.TempDir()
	starts := 0
	start := func() *fleet.Process {
		starts++
		p, _ := f.start("builder", "--cache-dir", dir, "--min-train-rows", "1000")
		return p
	}
	rng := rand.New(rand.NewPCG(9, 1))
	recalled := regexp.MustCompile(`recalled_files\W+[1-9]`)
	quick := 0
	builder := start()
	for index, deadline := f.shards(f.storage)[0], time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if m, err := index.Latest(t.Context(), 0); err != nil || time.Now().After(deadline) {
			t.Fatalf("no generation within a minute: %v", err)
		} else if m != nil {
			break
		}
	}
	end := func(kill bool) {
		t.Helper()
		if recalled.MatchString(builder.Log()) {
			quick++
		}
		if kill || !strings.Contains(builder.Log(), "loaded") { // before it has loaded it may not know yet how to stop
			builder.Kill()
		} else if err := builder.Stop(time.Minute); err != nil {
			t.Errorf("builder at SIGTERM: %v", err)
		}
	}
	producer := f.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	for from := 0; from < rows; from += batchRows {
		if _, err := produce.Batch(t.Context(), producer, produce.Topic{Partitions: partitions}, batch(rng, from, batchRows)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
		if rng.IntN(3) == 0 {
			// Half of them live until they have loaded, however long that takes on a busy machine. The first has nothing to load.
			loads := starts > 1 && rng.IntN(2) == 0
			for deadline := time.Now().Add(time.Minute); loads && !strings.Contains(builder.Log(), "loaded"); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the builder has not loaded within a minute:\n%s", builder.Log())
				}
			}
			end(rng.IntN(3) > 0)
			builder = start()
		}
	}
	want, ends := f.readTopic()
	f.checkGeneration(f.await(ends), want)
	end(false)
	builder = start() // with nothing to do but to start
	f.checkGeneration(f.await(ends), want)
	for deadline := time.Now().Add(30 * time.Second); !recalled.MatchString(builder.Log()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("after a stop it does not begin from what is left")
		}
	}
	if t.Logf("%d starts before it began from what was left", quick); quick < 3 {
		t.Errorf("only %d starts began from what was left", quick)
	}
}
