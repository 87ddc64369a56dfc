package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
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

// What the builder would refuse once it has trained is refused before there is an index: prefixes that are worth no more than any
// dimensions, as the vectors of --from tell.
func TestInitMeasuresPrefixes(t *testing.T) {
	const dim = 64
	ordered := make([]float32, 2500*dim) // of falling variance, as a Matryoshka encoder's
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range ordered {
		ordered[i] = float32(rng.NormFloat64() / (1 + float64(i%dim)/4))
	}
	turned := snapshottest.Turning(dim, 4)(ordered)
	b := store.NewMemory()
	check := func(vectors []float32, n int, change func(*specFlags)) (said string, err error) {
		t.Helper()
		f := specFlags{Name: "n", From: vectorsFile(t, vectors[:n*dim], dim), Ladder: []int{8, 16, dim}, Encoder: "e", Metric: "cosine", Partitions: 1, Shards: 1, TargetRecall: 0.9}
		if change != nil {
			change(&f)
		}
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		spec, err := f.spec(log)
		if err != nil {
			t.Fatal(err)
		}
		err = f.checkPrefixes(t.Context(), spec, log)
		return out.String(), err
	}
	const worth, warning = "are worth more than any dimensions", "level=WARN"
	for name, c := range map[string]struct {
		vectors  []float32
		rows     int
		change   func(*specFlags)
		err, log string
		silent   bool
	}{
		"a Matryoshka encoder":         {vectors: ordered, rows: 2500, log: worth},
		"another":                      {vectors: turned, rows: 2500, err: "of 8 dimensions 0."},
		"just enough rows":             {vectors: turned, rows: 2048, err: "(adastream init --prefix=rotate)"},
		"that is asked for":            {vectors: turned, rows: 2500, change: func(f *specFlags) { f.Prefix = "native" }, log: warning},
		"too few rows to be sure":      {vectors: turned, rows: 2047, log: warning},
		"too few to tell":              {vectors: turned, rows: 511, silent: true},
		"a rotation":                   {vectors: turned, rows: 2500, change: func(f *specFlags) { f.Prefix = "rotate" }, silent: true},
		"the full width":               {vectors: turned, rows: 2500, change: func(f *specFlags) { f.Ladder = nil }, silent: true},
		"nothing to be told by":        {vectors: make([]float32, 2500*dim), rows: 2500, silent: true},
		"half of it without direction": {vectors: append(make([]float32, 2000*dim), turned...), rows: 4500, err: "--prefix=native makes it all the same"},
	} {
		said, err := check(c.vectors, c.rows, c.change)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || !strings.Contains(said, c.log) || c.silent && said != "" {
			t.Errorf("%s: %v; %s", name, err, said)
		}
	}
	// Nothing is made of an index that is refused.
	f := specFlags{Name: "n", From: vectorsFile(t, turned, dim), Ladder: []int{8, dim}, Encoder: "e", Metric: "cosine", Partitions: 1, Shards: 1, TargetRecall: 0.9}
	if _, err := f.create(t.Context(), b, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "carry no order") {
		t.Error(err)
	}
}

// vectorsFile is an .fvecs of vectors [n][dim].
func vectorsFile(t *testing.T, vectors []float32, dim int) string {
	t.Helper()
	var out []byte
	for i, x := range vectors {
		if i%dim == 0 {
			out = binary.LittleEndian.AppendUint32(out, uint32(dim))
		}
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	name := filepath.Join(t.TempDir(), "rows.fvecs")
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A file of any size and width is looked at in a second or two: some widths and forms of it, timed.
func BenchmarkInitMeasuresPrefixes(b *testing.B) {
	for _, dim := range []int{256, 768, 1536, 4096} {
		rng := rand.New(rand.NewPCG(3, 4))
		var jsonl, fvecs []byte
		for i := range 8192 {
			fvecs = binary.LittleEndian.AppendUint32(fvecs, uint32(dim))
			jsonl = fmt.Appendf(jsonl, `{"id": "%d", "vector": [`, i)
			for j := range dim {
				x := float32(rng.NormFloat64() / (1 + float64(j)/4))
				fvecs = binary.LittleEndian.AppendUint32(fvecs, math.Float32bits(x))
				if j > 0 {
					jsonl = append(jsonl, ',')
				}
				jsonl = strconv.AppendFloat(jsonl, float64(x), 'g', -1, 32)
			}
			jsonl = append(jsonl, "]}\n"...)
		}
		for ext, body := range map[string][]byte{"jsonl": jsonl, "fvecs": fvecs} {
			name := filepath.Join(b.TempDir(), "rows."+ext)
			if err := os.WriteFile(name, body, 0o600); err != nil {
				b.Fatal(err)
			}
			f := specFlags{Name: "n", From: name, Encoder: "e", Metric: "cosine", Partitions: 1, Shards: 1, TargetRecall: 0.9}
			for d := 64; d <= dim; d *= 2 {
				f.Ladder = append(f.Ladder, d)
			}
			if f.Ladder[len(f.Ladder)-1] != dim {
				f.Ladder = append(f.Ladder, dim)
			}
			log := slog.New(slog.DiscardHandler)
			spec, err := f.spec(log)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d", ext, dim), func(b *testing.B) {
				for b.Loop() {
					if err := f.checkPrefixes(b.Context(), spec, log); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
