// Package capacity says what an index of some size takes: bytes, memory, requests, processors, and what binds first.
//
// Bytes are counted, from the formats and from what the code keeps. Speed is carried over from what was measured on one machine and
// some data sets, see measured.go: right to a factor of two or three, and docs/capacity.md says how far off it was where that is known.
package capacity

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/schemas"
)

// Wish is what an index is to be. Rows and Ladder are required; Defaults has values for the rest.
type Wish struct {
	Rows           int64         `json:"rows"`             // live ones
	Ladder         []int         `json:"ladder"`           // the last level is D
	Float16        bool          `json:"float16"`          // originals, and messages
	IDBytes        float64       `json:"id_bytes"`         // of an id as text, on average
	AttributeBytes float64       `json:"attribute_bytes"`  // of a row's attributes as Arrow stores them, on average
	ListsPerRow    int           `json:"lists_per_row"`    // 1 or 2
	Rotate         bool          `json:"rotate"`           // the model has axes
	Updates        float64       `json:"updates"`          // rows a second that are inserted, changed or deleted
	Partitions     int           `json:"partitions"`       // of the topic
	Shards         int           `json:"shards"`           // of the index
	Loads          int           `json:"loads"`            // chains for bulk loads in each shard
	QPS            float64       `json:"qps"`              // queries a second, of all nodes
	Recall         float64       `json:"recall"`           // recall@10 that they ask for
	Batched        bool          `json:"batched"`          // many in an Arrow request; else one in a JSON one
	Originals      string        `json:"originals"`        // where nodes have them: local, remote or none
	Cores          float64       `json:"cores"`            // of a machine, for a query node or the builder
	Memory         int64         `json:"memory_bytes"`     // of a machine
	Busy           float64       `json:"busy"`             // share of a machine's cores that queries may take
	FlushAge       time.Duration `json:"flush_age_ns"`     // flags of the daemons
	PublishEvery   time.Duration `json:"publish_every_ns"` //
	PollEvery      time.Duration `json:"poll_every_ns"`    //
	KeepFor        time.Duration `json:"keep_for_ns"`      //
	StoreLatency   time.Duration `json:"store_latency_ns"` // of a request to the store
	Retention      time.Duration `json:"retention_ns"`     // of the topic
	P50            time.Duration `json:"p50_ns"`           // of a request to one node, as measured; 0 is the core seconds of a query
	P99            time.Duration `json:"p99_ns"`           // of the same; 0 is twice P50
	Prices         Prices        `json:"prices"`
}

// Prices are those that are known, in whatever currency; 0 is not known, and nothing of a plan's money.
type Prices struct {
	MachineHour   float64 `json:"machine_hour"`   // of Cores and Memory
	GiBMonth      float64 `json:"gib_month"`      // stored in the bucket
	MillionWrites float64 `json:"million_writes"` // PUTs and LISTs
	MillionReads  float64 `json:"million_reads"`  // GETs
}

// known says whether there is any.
func (p Prices) known() bool { return p != Prices{} }

// Defaults are those of the daemons, and machines of 8 cores and 32 GiB.
func Defaults() Wish {
	return Wish{IDBytes: 16, ListsPerRow: 2, Partitions: 6, Shards: 1, QPS: 100, Recall: 0.95, Originals: "local", Cores: 8, Memory: 32 << 30, Busy: 0.6,
		FlushAge: 300 * time.Millisecond, PublishEvery: 250 * time.Millisecond, PollEvery: 250 * time.Millisecond, KeepFor: 24 * time.Hour,
		StoreLatency: 30 * time.Millisecond, Retention: 24 * time.Hour}
}

// MaxRows is where the number of a row among the base's, an int32 of the codes, ends.
const MaxRows = math.MaxInt32

// Validate joins all faults of w.
func (w Wish) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if w.Rows < 1 {
		bad("rows: %d, allowed: at least 1", w.Rows)
	}
	spec := schemas.Spec{Name: "plan", Metric: schemas.Cosine, Ladder: w.Ladder, Encoder: "plan", ListsPerRow: w.ListsPerRow, Topic: schemas.Topic{Name: "plan", Partitions: w.Partitions}, Shards: w.Shards, Loads: w.Loads}
	if w.Rotate {
		spec.Prefix = schemas.PrefixRotate
	}
	spec = spec.WithDefaults()
	faults = append(faults, spec.Validate())
	for _, f := range []struct {
		name  string
		value float64
		least float64
		most  float64
	}{
		{"id bytes", w.IDBytes, 1, 1024}, {"attribute bytes", w.AttributeBytes, 0, math.Inf(1)}, {"updates", w.Updates, 0, math.Inf(1)}, {"qps", w.QPS, 0, math.Inf(1)},
		{"recall", w.Recall, 0.5, 1}, {"cores", w.Cores, 1, math.Inf(1)}, {"memory", float64(w.Memory), 1 << 28, math.Inf(1)}, {"busy", w.Busy, 0.05, 1},
		{"flush age", w.FlushAge.Seconds(), 0.001, 3600}, {"publish interval", w.PublishEvery.Seconds(), 0.001, 3600}, {"poll interval", w.PollEvery.Seconds(), 0.001, 3600},
		{"keep for", w.KeepFor.Seconds(), 0, math.Inf(1)}, {"store latency", w.StoreLatency.Seconds(), 0, 60}, {"retention", w.Retention.Seconds(), 0, math.Inf(1)},
		{"p50", w.P50.Seconds(), 0, 3600}, {"p99", w.P99.Seconds(), 0, 3600}, {"price of a machine's hour", w.Prices.MachineHour, 0, math.Inf(1)}, {"price of a GiB and month", w.Prices.GiBMonth, 0, math.Inf(1)},
		{"price of a million writes", w.Prices.MillionWrites, 0, math.Inf(1)}, {"price of a million reads", w.Prices.MillionReads, 0, math.Inf(1)},
	} {
		if !(f.value >= f.least && f.value <= f.most) {
			bad("%s: %v, allowed: %v to %v", f.name, f.value, f.least, f.most)
		}
	}
	if !slices.Contains([]string{"local", "remote", "none"}, w.Originals) {
		bad("originals: %q, allowed: local, remote or none", w.Originals)
	}
	if w.P99 > 0 && (w.P50 == 0 || w.P99 < w.P50) {
		bad("p99: %v with a p50 of %v, allowed: both, and p99 not below", w.P99, w.P50)
	}
	return errors.Join(faults...)
}

// Unit is what a figure counts.
type Unit string

const (
	Bytes     Unit = "bytes"
	BytesRate Unit = "bytes/s"
	Rate      Unit = "1/s"
	Seconds   Unit = "s"
	Count     Unit = ""
	Cores     Unit = "cores"
	Money     Unit = "money"
	Share     Unit = "share"
)

// Figure is one number of a plan, and how it came about.
type Figure struct {
	Of      string  `json:"of"` // an index, a query node, ...
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    Unit    `json:"unit"`
	Formula string  `json:"formula"`
}

// Limit is something that one index of these machines cannot exceed. Headroom is how often the wish fits: below 1 it does not.
type Limit struct {
	Name     string  `json:"name"`
	Headroom float64 `json:"headroom"`
	Detail   string  `json:"detail"`
}

// Plan is what each shard of an index takes, what requests to all of them and money come to, and the limits of a shard with what binds
// first before all others.
type Plan struct {
	Wish    Wish     `json:"wish"`
	Figures []Figure `json:"figures"`
	Limits  []Limit  `json:"limits"`
}

// Fits says whether each shard, on such machines, can be what is wished.
func (p *Plan) Fits() bool { return p.Limits[0].Headroom >= 1 }

// Value is that of a figure; there must be one.
func (p *Plan) Value(of, name string) float64 {
	for _, f := range p.Figures {
		if f.Of == of && f.Name == name {
			return f.Value
		}
	}
	panic(fmt.Sprintf("capacity: no figure %q of %q", name, of))
}

// sizes of an index, from which the rest follows.
type sizes struct {
	w                     Wish
	n, d                  float64
	subs, lists           float64
	rows, codes, vectors  float64 // bytes a row, in chunks
	model                 float64 // bytes
	sample                float64 // rows that a model is trained on
	files, queried        float64 // all of a generation; what a node reads
	scratch               float64 // of the builder, for rows
	rewrites, generations float64 // a day; a second
	commits               float64 // a second
}

func sizesOf(w Wish) sizes {
	dim := w.Ladder[len(w.Ladder)-1]
	s := sizes{w: w, n: float64(w.Rows), d: float64(dim), subs: float64(opq.DefaultSubs(dim))}
	s.sample = float64(model.SampleRows(w.Rows, dim, model.Everything))
	s.lists = float64(model.DefaultNList(w.Rows, int(s.sample)))
	s.rows = s.d + 4 + 4*float64(len(w.Ladder)) + 40 + 4 + w.IDBytes + w.AttributeBytes
	even := 2 * math.Ceil(s.subs/2)
	blocks := (s.n*float64(w.ListsPerRow) + s.lists*blockWaste) / 32
	s.codes = blocks * (16*even + 32*4 + 8) / s.n
	s.vectors = 4 * s.d
	if w.Float16 {
		s.vectors = 2 * s.d
	}
	width := 0 // squares of the widths of the blocks that residuals are rotated in
	for i, level := range w.Ladder {
		low := 0
		if i > 0 {
			low = w.Ladder[i-1]
		}
		pieces := (level - low + 255) / 256
		width += (level - low) * (level - low) / pieces
	}
	s.model = 4 * (s.lists*s.d + 16*s.d + float64(width))
	if w.Rotate {
		s.model += 4 * s.d * s.d
	}
	s.queried = s.n*(s.rows+s.codes) + s.model
	s.files = s.queried + s.n*s.vectors
	s.scratch = s.n * scratchBytes
	s.rewrites = w.Updates * 86400 / math.Max(8192, s.n/4)
	s.commits = math.Min(float64(w.Partitions)/w.FlushAge.Seconds(), w.Updates)
	s.generations = math.Min(1/w.PublishEvery.Seconds(), s.commits)
	return s
}

// shard is what is wished of each shard. All of them answer every query.
func (w Wish) shard() Wish {
	n := max(1, w.Shards)
	w.Rows, w.Updates, w.Partitions, w.Shards = (w.Rows+int64(n)-1)/int64(n), w.Updates/float64(n), (w.Partitions+n-1)/n, 1
	return w
}

// ShardsFor is the least number of shards of which each fits, with a partition for each at least; 0 if no number does.
func ShardsFor(w Wish) int {
	n := 1 + sort.Search(schemas.MaxShards, func(i int) bool {
		w := w
		w.Shards = i + 1
		w.Partitions = max(w.Partitions, w.Shards)
		return Of(w).Fits()
	})
	if n > schemas.MaxShards {
		return 0
	}
	return n
}

// Of makes a plan of a wish that is valid.
func Of(w Wish) *Plan {
	s := sizesOf(w.shard())
	p := &Plan{Wish: w}
	for _, add := range []func(sizes, *Plan){index, queryNode, builder, ingestors, bucket, topic, load, freshness, request, money, limits} {
		add(s, p)
	}
	return p
}

func (p *Plan) add(of, name string, value float64, unit Unit, formula string, args ...any) {
	p.Figures = append(p.Figures, Figure{of, name, value, unit, fmt.Sprintf(formula, args...)})
}
