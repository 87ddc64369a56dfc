package schemas

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Formats of the JSON records. A reader refuses a format that it does not know.
const (
	CommitFormat     = 1
	ManifestFormat   = 1
	ChannelFormat    = 1
	CollectionFormat = 1
	ResolutionFormat = 1
)

// Object points at an immutable object of the store.
type Object struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex of the whole object
}

// Commit says what became of the offsets [Start, End) of one partition. Its key in the store is its own start offset,
// created if absent, so a partition's commits form a chain without gaps or overlaps whoever writes them.
type Commit struct {
	Format      int            `json:"format"`
	Partition   int            `json:"partition"`
	Start       int64          `json:"start"`
	End         int64          `json:"end"`
	Segment     *Object        `json:"segment,omitempty"`    // upserts of the range, absent when there were none
	Tombstones  *Object        `json:"tombstones,omitempty"` // deletes of the range, absent when there were none
	Quarantine  *Object        `json:"quarantine,omitempty"` // what was refused, absent when nothing was
	Rows        int            `json:"rows"`                 // upserts in Segment
	Deletes     int            `json:"deletes"`              // rows in Tombstones
	Quarantined map[string]int `json:"quarantined,omitempty"`
	Model       string         `json:"model,omitempty"`  // model that assigned and encoded Segment, absent when there was none yet
	Gap         bool           `json:"gap,omitempty"`    // the range was lost to retention and an operator accepted that
	AtEnd       bool           `json:"at_end,omitempty"` // the log ended at End when the writer last asked
	Load        *Load          `json:"load,omitempty"`   // what the range is of, in a partition of loads
	Watermark   int64          `json:"watermark"`        // largest record timestamp of the chain up to End, ms since the epoch
	Produced    int64          `json:"produced"`         // largest record timestamp of this range alone, ms since the epoch
	Trace       string         `json:"trace,omitempty"`  // W3C traceparent of the span that wrote it, absent when that is not sampled
	Writer      string         `json:"writer"`           // unique for each attempt to write this record
	Created     time.Time      `json:"created"`
}

// Load is what a part of a bulk load is. It is the same in all records of the chain from Base on, but for Done.
type Load struct {
	Name      string `json:"name"`
	Base      int64  `json:"base"`           // offset where the load began in this chain: row n of the part is at Base + 1 + n
	Parts     int    `json:"parts"`          // of the load
	Input     string `json:"input"`          // lower-case hex of the SHA-256 of what is loaded, as far as it is known beforehand
	Timestamp int64  `json:"timestamp"`      // of all rows, ms since the epoch
	Done      bool   `json:"done,omitempty"` // all rows of the part that are for this shard are before End
}

// Validate joins all faults of l.
func (l *Load) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(l.Name) > MaxNameBytes || !nameRE.MatchString(l.Name) {
		bad("load.name: %q, allowed: 1 to %d letters, digits, '.', '_', '-', starting with a letter or digit", l.Name, MaxNameBytes)
	}
	if l.Base < 0 {
		bad("load.base: %d, allowed: 0 and more", l.Base)
	}
	if l.Parts < 1 || l.Parts > MaxPartitions {
		bad("load.parts: %d, allowed: 1 to %d", l.Parts, MaxPartitions)
	}
	if !sumRE.MatchString(l.Input) {
		bad("load.input: %q, allowed: 64 digits of lower-case hex", l.Input)
	}
	if l.Timestamp < 0 {
		bad("load.timestamp: %d, allowed: 0 and more", l.Timestamp)
	}
	return errors.Join(faults...)
}

// Objects yields all that the commit names.
func (c *Commit) Objects() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, o := range []*Object{c.Segment, c.Tombstones, c.Quarantine} {
			if o != nil && !yield(*o) {
				return
			}
		}
	}
}

// Manifest is one generation: everything that a query node needs to serve it, and a builder to go on from it.
type Manifest struct {
	Format     int              `json:"format"`
	Generation int64            `json:"generation"`      // 1, 2, 3, ...
	Parent     int64            `json:"parent"`          // 0 for the first
	Builder    string           `json:"builder"`         // unique for each builder process
	Trace      string           `json:"trace,omitempty"` // as of a commit
	Created    time.Time        `json:"created"`
	Model      *ModelRef        `json:"model,omitempty"` // absent until there are enough rows to train one
	Pages      []PageRef        `json:"pages,omitempty"` // of chunks, then of segments: the first ones of Chunks and Segments, and in the record only here
	Chunks     []Chunk          `json:"chunks,omitempty"`
	Segments   []Segment        `json:"segments,omitempty"`
	Tombstones []Object         `json:"tombstones,omitempty"`
	Dead       *Object          `json:"dead,omitempty"` // rows of Chunks and Segments that a later version replaced or deleted
	Checkpoint map[string]int64 `json:"checkpoint"`     // partition -> next offset to fold
	Watermark  int64            `json:"watermark"`      // event time that all partitions but idle ones have reached, ms since the epoch; never less than the parent's
	Produced   int64            `json:"produced"`       // largest record timestamp that is searchable, ms since the epoch
	LiveRows   int64            `json:"live_rows"`
	DeadRows   int64            `json:"dead_rows"`
	Moved      int64            `json:"moved,omitempty"` // rows whose id was seen in another partition before: a producer broke the rule
	Lists      *ListStats       `json:"lists,omitempty"`
	Plans      []PlanPoint      `json:"plans,omitempty"` // measured, in order of cost: of the full width, then of each narrower one; absent without a model
	Quality    *Quality         `json:"quality,omitempty"`
	Drift      *Drift           `json:"drift,omitempty"`
	Newest     *Newest          `json:"newest,omitempty"`
	Trained    *Trained         `json:"trained,omitempty"` // absent unless a job of the builder goes on with a new model
}

// Trained is a model that a job has made and that nothing uses yet: a builder that takes over goes on from it.
type Trained struct {
	Model ModelRef `json:"model"`
	From  string   `json:"from,omitempty"` // id of the model that it is to replace, absent for the first
	Rows  int64    `json:"rows"`           // live ones of the job
}

// ModelRef names a model by its content.
type ModelRef struct {
	ID string `json:"id"`
	Object
	TrainedRows int64   `json:"trained_rows"` // live rows when it was trained
	NList       int     `json:"nlist"`
	Repair      string  `json:"repair"`            // what of the model before it was made anew: "codes", "lists", "full"
	Balance     float64 `json:"balance,omitempty"` // of its lists when it was made, see ListStats
	Fit         *Fit    `json:"fit,omitempty"`     // of rows that it was not trained on, when it was made: what drift is measured against

	// Prefixes say of each level but the full width what it is worth; absent when there is none, or too few rows to tell.
	Prefixes []PrefixRecall `json:"prefixes,omitempty"`
}

// PrefixRecall is the recall@10 of exact search on some of the dimensions, against that on all of them, among rows of the
// sample that a model was trained on.
type PrefixRecall struct {
	Dims   int     `json:"dims"`
	Recall float64 `json:"recall"` // on the first ones, as the model rotates them if it does
	Chance float64 `json:"chance"` // on as many dimensions of the vectors as they were given, drawn at random
}

// Fit says how well a model describes some rows. Errors are sums of squares over the rows, as shares of those of their
// vectors, for the prefix of each level of the ladder.
type Fit struct {
	Rows   int       `json:"rows"`
	Coarse []float64 `json:"coarse"` // what centroids leave
	Codes  []float64 `json:"codes"`  // what codes leave of that
	Chance float64   `json:"chance"` // what centroids leave of the first level of the same vectors with their values in any order
}

// tellable is how much nearer to centroids than chance rows must be for strangeness to be more than noise.
const tellable = 0.25

// Strange says how unlike the rows of the fit others are, of whose first level centroids leave that much: 0 like them, 1 like
// vectors without meaning. Encoders put what matters most into the first level: rows about other things lie farther from
// centroids there than those that the model was made for, those of another encoder are hardly nearer than chance. It is 0
// where the model's own rows are not much nearer than chance either.
func (f *Fit) Strange(coarse float64) float64 {
	if len(f.Coarse) == 0 || f.Chance-f.Coarse[0] < tellable {
		return 0
	}
	return max(0, (coarse-f.Coarse[0])/(f.Chance-f.Coarse[0]))
}

// Drift says how far rows that came after the model are from those that it was made for, and what was done about it.
type Drift struct {
	Measured int64 `json:"measured"` // generation after which it was measured: when the last rewrite began
	Fit
	Strange float64 `json:"strange"` // how unlike those of the model the rows are: 0 like them, 1 like chance
	Repair  string  `json:"repair"`  // what was chosen: "none", "codes", "lists", "full"
	Reason  string  `json:"reason"`
}

// Newest says how the rows that came last look to the model.
type Newest struct {
	Rows    float64 `json:"rows"`    // looked at, old ones count less
	Strange float64 `json:"strange"` // as in Drift
}

// Chunk is a run of rows of the lists [FirstList, EndList), merged by the builder.
type Chunk struct {
	ID        string `json:"id"` // sha256 of Rows
	FirstList int    `json:"first_list"`
	EndList   int    `json:"end_list"`
	NumRows   int    `json:"num_rows"`
	Rows      Object `json:"rows"`
	Codes     Object `json:"codes"`
	Vectors   Object `json:"vectors"` // originals; query nodes need not fetch them
}

// Segment is a delta: one commit's upserts as the ingestor wrote them.
type Segment struct {
	ID string `json:"id"` // sha256 of the object
	Object
	NumRows int    `json:"num_rows"`
	Model   string `json:"model,omitempty"` // when it is not the generation's model, the segment is searched whole
}

// ListStats describes the inverted lists of a generation.
type ListStats struct {
	NList    int     `json:"nlist"`
	Longest  int     `json:"longest"` // rows
	Mean     float64 `json:"mean"`    // rows
	Balance  float64 `json:"balance"` // nlist * sum of squared shares: 1 is perfectly even, and the factor by which a scan is dearer than that
	NonEmpty int     `json:"non_empty"`
}

// PlanPoint is a measured plan, and what a query by it costs on average.
type PlanPoint struct {
	NProbe    int     `json:"nprobe"`              // lists at most
	Margin    float64 `json:"margin,omitempty"`    // by how much the score of a list may be below that of the best eighth; 0: any
	ScanDims  int     `json:"scan_dims"`           // prefix that the codes are scanned on
	Refine    int     `json:"refine"`              // candidates that are scored on their int8 rows
	Originals bool    `json:"originals,omitempty"` // of those that may be among the best the originals decide
	Dims      int     `json:"dims,omitempty"`      // width of all that is compared; 0: the full one
	Recall    float64 `json:"recall"`              // recall@10 against exact search
	Low       float64 `json:"low"`                 // 95 % confidence interval
	High      float64 `json:"high"`
	Lists     float64 `json:"lists"`   // probed
	Scanned   float64 `json:"scanned"` // codes scanned
	Refined   float64 `json:"refined"` // int8 rows scored
	Bytes     float64 `json:"bytes"`   // of those codes, rows and originals
	Micros    float64 `json:"micros"`  // microseconds on the builder, one thread
}

// Quality is the verdict of the gate over a generation.
type Quality struct {
	Recall    float64   `json:"recall"` // recall@10 of the default plan, of held-out rows
	Low       float64   `json:"low"`    // 95 % confidence interval
	High      float64   `json:"high"`
	Queries   int       `json:"queries"`
	Recent    *Estimate `json:"recent,omitempty"` // of rows of the last hour before the newest record; absent when there are too few
	Slices    []Slice   `json:"slices,omitempty"` // of the held-out rows, the worst ones, worst first; absent when there are too few
	Objective float64   `json:"objective"`
	Measured  int64     `json:"measured"` // generation on which it was measured; an earlier one when only deltas came since
	Promoted  bool      `json:"promoted"`
	Reason    string    `json:"reason,omitempty"` // why not
}

// Estimate is a recall of the default plan that was measured on some queries.
type Estimate struct {
	Recall  float64 `json:"recall"`
	Low     float64 `json:"low"` // 95 % confidence interval
	High    float64 `json:"high"`
	Queries int     `json:"queries"`
}

// Slice is the recall of queries that are near one another.
type Slice struct {
	Estimate
	Lists  int    `json:"lists"`  // that hold the queries' rows
	Around string `json:"around"` // id of the row that is the middle query
}

// Channel says what queries follow from now on: a generation of the index, or an epoch of it.
type Channel struct {
	Format     int       `json:"format"`
	Sequence   int64     `json:"sequence"`             // 1, 2, 3, ...
	Generation int64     `json:"generation,omitempty"` // absent with Epoch
	Epoch      string    `json:"epoch,omitempty"`      // an index below this one, whose own channel says which generation; absent with Generation
	Pinned     bool      `json:"pinned,omitempty"`     // builders promote nothing until a later record is not
	Reason     string    `json:"reason"`
	By         string    `json:"by"` // user@host of an operator, or the id of a builder, which has no @
	Created    time.Time `json:"created"`
}

// ByOperator reports whether a person made the record: builders do not undo it by chance, and operators not each other's.
func (c *Channel) ByOperator() bool { return strings.Contains(c.By, "@") }

// String says what is served, by whom and why.
func (c *Channel) String() string {
	text := fmt.Sprintf("generation %d", c.Generation)
	if c.Epoch != "" {
		text = "epoch " + c.Epoch
	}
	if c.Pinned {
		text += ", pinned"
	}
	return fmt.Sprintf("%s, by %s at %s: %s", text, c.By, c.Created.Format(time.RFC3339), c.Reason)
}

// HoldsBuilders reports whether builders of the index promote nothing until a later record.
func (c *Channel) HoldsBuilders() bool { return c.Pinned || c.Epoch != "" }

// Validate reports every fault of what the record says, each naming the field, the value and what is allowed.
func (c *Channel) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Generation < 0 || (c.Generation == 0) == (c.Epoch == "") {
		bad("generation %d and epoch %q, allowed: one of them", c.Generation, c.Epoch)
	}
	if c.Epoch != "" && (len(c.Epoch) > MaxNameBytes || !nameRE.MatchString(c.Epoch)) {
		bad("epoch: %q, allowed: 1 to %d letters, digits, '.', '_', '-', starting with a letter or digit", c.Epoch, MaxNameBytes)
	}
	if c.Epoch != "" && c.Pinned {
		bad("pinned: true for epoch %q, allowed: in the epoch's own channel", c.Epoch)
	}
	return errors.Join(faults...)
}

// Collection is what garbage collection decided before it removed anything. A key at or below what it says of its line is
// taken, whether there is an object or not.
type Collection struct {
	Format     int              `json:"format"`
	Number     int64            `json:"number"`     // 1, 2, 3, ...
	Generation int64            `json:"generation"` // the newest one at that time
	Kept       []int64          `json:"kept"`       // of the generations up to Generation, ascending: the others are gone, or about to be
	Served     int64            `json:"served"`     // sequence of the newest promotion at that time, 0 for none
	Before     map[string]int64 `json:"before"`     // partition -> position: commits that start before it are folded, and gone or about to be

	// Telling has, for a partition, the starts of commits that stay although they are folded, since they tell of lost or refused
	// messages: of those that start before Before, and not before that of the collection before. Absent for none.
	Telling map[string][]int64 `json:"telling,omitempty"`

	By      string    `json:"by"` // user@host of an operator, or the id of a builder, which has no @
	Created time.Time `json:"created"`
}

// Keeps reports whether a generation was not given up.
func (c *Collection) Keeps(generation int64) bool {
	if generation > c.Generation {
		return true
	}
	_, kept := slices.BinarySearch(c.Kept, generation)
	return kept
}

// States of a resolution.
const (
	Replaying = "replaying" // about to be produced, or produced
	Replayed  = "replayed"  // produced, once
	Dropped   = "dropped"   // given up
)

// Resolution says what becomes of a refused message or row. The newest one of its line holds.
type Resolution struct {
	Format    int       `json:"format"`
	Partition int       `json:"partition"` // of what was refused, like Offset and Row
	Offset    int64     `json:"offset"`
	Row       int       `json:"row"`    // -1: the message as a whole
	Number    int64     `json:"number"` // 1, 2, 3, ...
	State     string    `json:"state"`
	To        int       `json:"to"`           // while replaying: the partition that it is produced to
	From      int64     `json:"from"`         // while replaying: where To ended before, so that it lies there or later
	ID        string    `json:"id,omitempty"` // of a replay, unique: a header of the message that is produced
	Reason    string    `json:"reason,omitempty"`
	By        string    `json:"by"` // user@host of an operator
	Created   time.Time `json:"created"`
}

// Final reports whether nothing more becomes of it.
func (r *Resolution) Final() bool { return r.State == Replayed || r.State == Dropped }

// maxTrace is the length of a traceparent.
const maxTrace = 55

// ParseCommit reads a commit record strictly.
func ParseCommit(data []byte) (*Commit, error) {
	var c Commit
	if err := decodeStrict(data, &c, CommitFormat); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if c.Format != CommitFormat {
		return nil, fmt.Errorf("commit: %w", unknown(c.Format, CommitFormat))
	}
	if len(c.Trace) > maxTrace {
		return nil, fmt.Errorf("commit: trace of %d bytes, allowed: %d", len(c.Trace), maxTrace)
	}
	if c.Start < 0 || c.End <= c.Start || c.Writer == "" {
		return nil, fmt.Errorf("commit: range [%d, %d) of writer %q is not one", c.Start, c.End, c.Writer)
	}
	if c.Load != nil {
		if err := c.Load.Validate(); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
	}
	return &c, nil
}

// ParseChannel reads a channel record strictly.
func ParseChannel(data []byte) (*Channel, error) {
	var c Channel
	if err := decodeStrict(data, &c, ChannelFormat); err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	if c.Format != ChannelFormat {
		return nil, fmt.Errorf("channel: %w", unknown(c.Format, ChannelFormat))
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	return &c, nil
}

// ParseCollection reads a collection record strictly.
func ParseCollection(data []byte) (*Collection, error) {
	var c Collection
	if err := decodeStrict(data, &c, CollectionFormat); err != nil {
		return nil, fmt.Errorf("collection: %w", err)
	}
	if c.Format != CollectionFormat {
		return nil, fmt.Errorf("collection: %w", unknown(c.Format, CollectionFormat))
	}
	if c.Number < 1 || c.Generation < 1 || c.Served < 0 || c.By == "" {
		return nil, fmt.Errorf("collection: number %d up to generation %d and promotion %d by %q is not one", c.Number, c.Generation, c.Served, c.By)
	}
	if !slices.IsSorted(c.Kept) || len(c.Kept) == 0 || c.Kept[len(c.Kept)-1] != c.Generation {
		return nil, fmt.Errorf("collection: kept %v, allowed: generations in ascending order, %d the last one", c.Kept, c.Generation)
	}
	for p, position := range c.Before {
		if n, err := strconv.Atoi(p); err != nil || strconv.Itoa(n) != p || n < 0 || position < 0 {
			return nil, fmt.Errorf("collection: before: %d for partition %q, allowed: an offset for a partition", position, p)
		}
	}
	for p, starts := range c.Telling {
		if n := len(starts); !slices.IsSorted(starts) || n == 0 || starts[0] < 0 || starts[n-1] >= c.Before[p] {
			return nil, fmt.Errorf("collection: telling: %v for partition %q, allowed: offsets in ascending order, below before", starts, p)
		}
	}
	return &c, nil
}

// ParseResolution reads a resolution strictly.
func ParseResolution(data []byte) (*Resolution, error) {
	var r Resolution
	if err := decodeStrict(data, &r, ResolutionFormat); err != nil {
		return nil, fmt.Errorf("resolution: %w", err)
	}
	if r.Format != ResolutionFormat {
		return nil, fmt.Errorf("resolution: %w", unknown(r.Format, ResolutionFormat))
	}
	if r.Partition < 0 || r.Offset < 0 || r.Row < -1 || r.Number < 1 || r.To < 0 || r.From < 0 || r.By == "" {
		return nil, fmt.Errorf("resolution: number %d of row %d of offset %d of partition %d by %q, to partition %d from %d, is not one", r.Number, r.Row, r.Offset, r.Partition, r.By, r.To, r.From)
	}
	if !r.Final() && r.State != Replaying || (r.State == Replaying) != (r.ID != "") {
		return nil, fmt.Errorf("resolution: state %q with id %q, allowed: %s with one, %s and %s without", r.State, r.ID, Replaying, Replayed, Dropped)
	}
	return &r, nil
}
