package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// snapshotInfo says which generation an answer came from and how fresh it is.
type snapshotInfo struct {
	Generation int64     `json:"generation"`
	Epoch      string    `json:"epoch,omitempty"` // absent for the root's own
	Encoder    string    `json:"encoder"`         // of the vectors, and of queries
	AsOf       time.Time `json:"as_of"`           // timestamp of the newest record in it
	AgeSeconds float64   `json:"age_seconds"`     // since it was published
	LiveRows   int64     `json:"live_rows"`
	Model      string    `json:"model,omitempty"`

	Offsets json.RawMessage `json:"offsets"` // partition -> next offset: everything before it is searchable
}

func (s *served) info() snapshotInfo { return infoOf(s.Manifest(), s.Spec(), s.epoch, s.offsets) }

func infoOf(m *schemas.Manifest, spec *schemas.Spec, epoch string, offsets json.RawMessage) snapshotInfo {
	i := snapshotInfo{Generation: m.Generation, Epoch: epoch, Encoder: spec.Encoder,
		AsOf: time.UnixMilli(m.Produced).UTC(), AgeSeconds: time.Since(m.Created).Seconds(), LiveRows: m.LiveRows, Offsets: offsets}
	if m.Model != nil {
		i.Model = m.Model.ID
	}
	return i
}

// generationInfo is what the manifest of a generation says, without the names of its objects.
type generationInfo struct {
	snapshotInfo
	Parent     int64               `json:"parent"` // 0 for the first
	Created    time.Time           `json:"created"`
	Chunks     int                 `json:"chunks"`
	Segments   int                 `json:"segments"`
	Tombstones int                 `json:"tombstone_objects"`
	DeadRows   int64               `json:"dead_rows"`
	Bytes      int64               `json:"bytes"` // of all objects
	Lists      *schemas.ListStats  `json:"lists,omitempty"`
	Quality    *schemas.Quality    `json:"quality,omitempty"`
	Drift      *schemas.Drift      `json:"drift,omitempty"`
	Plans      []schemas.PlanPoint `json:"plans,omitempty"`
}

func describe(m *schemas.Manifest, info snapshotInfo) generationInfo {
	g := generationInfo{snapshotInfo: info, Parent: m.Parent, Created: m.Created, Chunks: len(m.Chunks), Segments: len(m.Segments), Tombstones: len(m.Tombstones),
		DeadRows: m.DeadRows, Lists: m.Lists, Quality: m.Quality, Drift: m.Drift, Plans: m.Plans}
	for o := range m.Objects() {
		g.Bytes += o.Size
	}
	return g
}

// servingInfo is the generation that is served.
type servingInfo struct {
	generationInfo
	Live *schemas.Estimate `json:"live,omitempty"` // of late answers, as clients asked; absent when none was measured
}

type snapshotsAnswer struct {
	Index   string        `json:"index"`
	Serving *servingInfo  `json:"serving"`
	Spec    *schemas.Spec `json:"spec"`
}

func (n *Node) snapshots(*http.Request) (*response, error) {
	serving, spec := n.serving()
	return jsonResponse(snapshotsAnswer{Index: spec.Name, Serving: serving, Spec: spec})
}

// serving describes the current generation, nil before the first, and the index that it is of.
func (n *Node) serving() (*servingInfo, *schemas.Spec) {
	snap := n.hold()
	if snap == nil {
		return nil, n.o.Log.Spec()
	}
	defer snap.Release()
	return &servingInfo{describe(snap.Manifest(), snap.info()), n.live.current()}, snap.Spec()
}

// storeReads is how many generations are read from the store at a time for those who ask.
const storeReads = 4

// snapshot answers GET /v1/snapshots/{generation}: a generation of the index or epoch that is served.
func (n *Node) snapshot(r *http.Request) (*response, error) {
	text := r.PathValue("generation")
	generation, err := strconv.ParseInt(text, 10, 64)
	if err != nil || generation < 1 {
		return nil, invalid(fmt.Sprintf("generation: %.*q", 20, text), "a number from 1")
	}
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	m := snap.Manifest()
	if m.Generation != generation {
		if m, err = n.readGeneration(r.Context(), snap.index, generation); err != nil {
			return nil, err
		}
	}
	offsets, err := json.Marshal(m.Checkpoint)
	if err != nil {
		return nil, err
	}
	return jsonResponse(describe(m, infoOf(m, snap.Spec(), snap.epoch, offsets)))
}

func (n *Node) readGeneration(ctx context.Context, index *commit.Log, generation int64) (*schemas.Manifest, error) {
	select {
	case n.reading <- struct{}{}:
		defer func() { <-n.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m, err := index.Manifest(ctx, generation)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, &problem{Title: "no such generation", Status: http.StatusNotFound, Code: codeNotFound,
			Detail: fmt.Sprintf("generation %d is not in the store: it was never made, or was collected", generation)}
	case errors.Is(err, store.ErrTransient) && ctx.Err() == nil:
		return nil, &problem{Title: "the store cannot be asked", Status: http.StatusServiceUnavailable, Code: codeStore, Detail: err.Error()}
	}
	return m, err
}

type indexAnswer struct {
	Name   string        `json:"name"`
	Dims   int           `json:"dims"` // of a query
	Spec   *schemas.Spec `json:"spec"`
	Limits limitsInfo    `json:"limits"`
}

// limitsInfo is what this node takes of a request.
type limitsInfo struct {
	K              int     `json:"k"`
	Queries        int     `json:"queries"`
	Hits           int     `json:"hits"` // k times queries
	BodyBytes      int64   `json:"body_bytes"`
	TimeoutSeconds float64 `json:"timeout_seconds"`
}

// index answers GET /v1/index: what queries are made of.
func (n *Node) index(*http.Request) (*response, error) {
	spec := n.o.Log.Spec()
	if snap := n.hold(); snap != nil {
		defer snap.Release()
		spec = snap.Spec()
	}
	return jsonResponse(indexAnswer{Name: spec.Name, Dims: spec.Dim(), Spec: spec,
		Limits: limitsInfo{K: n.o.MaxK, Queries: maxQueries, Hits: maxHits, BodyBytes: n.o.MaxBody, TimeoutSeconds: n.o.Timeout.Seconds()}})
}

type statsAnswer struct {
	UptimeSeconds    float64           `json:"uptime_seconds"`
	Stale            string            `json:"stale,omitempty"`   // why the node cannot follow the channel
	ConfirmedSeconds *float64          `json:"confirmed_seconds"` // since the node knew that it serves the newest; null if it never did
	FreshnessSeconds *float64          `json:"freshness_seconds"` // from the newest record to its being searchable, at the last swap that brought one; null before
	Searches         SearchesInfo      `json:"searches"`
	Slots            SlotsInfo         `json:"slots"`
	Memory           MemoryInfo        `json:"memory"`
	Snapshot         *snapshotInfo     `json:"snapshot"` // null before the first
	Live             *schemas.Estimate `json:"live"`     // recall of late answers; null when none was measured
}

// SearchesInfo is how many queries were answered, and how long one took.
type SearchesInfo struct {
	Count            uint64  `json:"count"`
	MeanMicroseconds float64 `json:"mean_microseconds"`
}

// SlotsInfo is how much is being done, and may be.
type SlotsInfo struct {
	Running    int   `json:"running"`
	MaxRunning int   `json:"max_running"`
	Waiting    int64 `json:"waiting"`
	MaxWaiting int   `json:"max_waiting"`
}

// MemoryInfo is what is wanted of memory.
type MemoryInfo struct {
	WantedBytes int64 `json:"wanted_bytes"` // by what is served
	LimitBytes  int64 `json:"limit_bytes"`  // with the next generation; 0 is none
}

// stats answers GET /v1/stats: how this node does, in one look.
func (n *Node) stats(*http.Request) (*response, error) {
	count, mean := n.metrics.searches()
	a := statsAnswer{
		UptimeSeconds: time.Since(n.started).Seconds(),
		Searches:      SearchesInfo{count, float64(mean) / float64(time.Microsecond)},
		Slots:         SlotsInfo{len(n.running), n.o.MaxRunning, n.waiting.Load(), n.o.MaxWaiting},
		Live:          n.live.current(),
		Memory:        MemoryInfo{LimitBytes: n.o.MemoryBytes},
	}
	if err := n.Stale(); err != nil {
		a.Stale = err.Error()
	}
	for _, swap := range n.recent.list() { // newest first
		if swap.Freshness > 0 {
			seconds := swap.Freshness.Seconds()
			a.FreshnessSeconds = &seconds
			break
		}
	}
	if age, ever := n.confirmed.age(); ever {
		seconds := age.Seconds()
		a.ConfirmedSeconds = &seconds
	}
	if snap := n.hold(); snap != nil {
		defer snap.Release()
		info := snap.info()
		a.Snapshot, a.Memory.WantedBytes = &info, snap.wants.sum()
	}
	return jsonResponse(a)
}
