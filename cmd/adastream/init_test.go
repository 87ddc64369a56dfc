package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// An index that is there already is no fault, so that a job may make it each time; one of another spec is, and each difference is named.
func TestInitAgain(t *testing.T) {
	tt := newTripTest(t, "cosine")
	again := func(change func(c *initCommand)) error {
		c := &initCommand{Store: tt.storage, Kafka: tt.kafka, specFlags: tt.flags}
		c.Attribute = maps.Clone(c.Attribute)
		change(c)
		return c.Run(t.Context(), &cli.Logging{})
	}
	for name, change := range map[string]func(c *initCommand){
		"the same":                    func(*initCommand) {},
		"without a broker":            func(c *initCommand) { c.Brokers = []string{"127.0.0.1:1"} },
		"partitions, for a new topic": func(c *initCommand) { c.Partitions = 12 },
	} {
		if err := again(change); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	messages := filepath.Join(t.TempDir(), "messages.json")
	if err := os.WriteFile(messages, []byte(`{"format": "json", "id": "sku"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(c *initCommand){
		"its name is trip, asked for: other":                                          func(c *initCommand) { c.Name = "other" },
		"its ladder is [8 16], asked for: [4 16]":                                     func(c *initCommand) { c.Ladder = []int{4, 16} },
		"its encoder is e, asked for: f":                                              func(c *initCommand) { c.Encoder = "f" },
		"its metric is cosine, asked for: ip":                                         func(c *initCommand) { c.Metric = "ip" },
		"its vectors is float32, asked for: float16":                                  func(c *initCommand) { c.Vectors = "float16" },
		"its attributes is [{n int64}], asked for: [{n float64}]":                     func(c *initCommand) { c.Attribute["n"] = "float64" },
		", asked for: other-topic":                                                    func(c *initCommand) { c.Topic = "other-topic" },
		`its messages is {"format":"arrow"}, asked for: {"format":"json","id":"sku"}`: func(c *initCommand) { c.Messages = messages },
		", asked for: rotate":                                                         func(c *initCommand) { c.Prefix = "rotate" },
		"its lists per row is 2, asked for: 1":                                        func(c *initCommand) { c.ListsPerRow = 1 },
		"its loads is 0, asked for: 4":                                                func(c *initCommand) { c.Loads = 4 },
		"its target recall is 0.9, asked for: 0.8: choose another ":                   func(c *initCommand) { c.TargetRecall = 0.8 },
	} {
		if err := again(change); err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "asked for") != 1 {
			t.Errorf("%v, want %q and nothing else", err, want)
		}
	}
}

func TestInitJSON(t *testing.T) {
	tt := newTripTest(t, "cosine")
	tt.flags.Topic += "-more"
	c := &initCommand{Store: cli.Store{Store: t.TempDir()}, Kafka: tt.kafka, specFlags: tt.flags, JSON: true}
	topic := tt.topic()
	t.Cleanup(func() { sourcetest.DeleteTopic(t, topic) })
	for _, first := range []bool{true, false} {
		var got made
		described(t, "init", tt.output(c), &got)
		index, err := cli.Index{Store: c.Store}.ReadIndex(t.Context(), slog.New(slog.DiscardHandler), cli.Wait{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Made != first || got.Store != index.Bucket().String() || !reflect.DeepEqual(got.Spec, index.Spec()) {
			t.Errorf("made %v, want %v: %s has %+v, want %s with %+v", got.Made, first, got.Store, got.Spec, index.Bucket(), index.Spec())
		}
	}
}
