package fanout

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/schemas"
)

// stats is how a node of a shard does, or nodes of all shards together.
type stats struct {
	UptimeSeconds    float64            `json:"uptime_seconds"`    // of the one that began last
	Stale            string             `json:"stale,omitempty"`   // of which shards, and why
	ConfirmedSeconds *float64           `json:"confirmed_seconds"` // the longest; null if one never did
	FreshnessSeconds *float64           `json:"freshness_seconds"` // the longest
	Searches         serve.SearchesInfo `json:"searches"`          // a merged one counts in each shard
	Slots            serve.SlotsInfo    `json:"slots"`
	Memory           serve.MemoryInfo   `json:"memory"`   // no limit as soon as one has none
	Snapshot         *client.Snapshot   `json:"snapshot"` // null while one has none
	Live             *schemas.Estimate  `json:"live"`     // by rows; null while one has none
	Shards           []shardStats       `json:"shards,omitempty"`
}

// shardStats is what a node of a shard said.
type shardStats struct {
	Shard int             `json:"shard"`
	Node  string          `json:"node"` // that was asked; others of the shard have numbers of their own
	Stats json.RawMessage `json:"stats"`
}

// stats answers GET /v1/stats: of one node of each shard.
func (r *Router) stats(q *http.Request) (any, error) {
	replies, err := r.askAll(q.Context(), q.Header, func(int) *request { return &request{method: http.MethodGet, path: "stats"} })
	if err != nil {
		return nil, err
	}
	parts, of := make([]stats, len(replies)), make([]shardStats, len(replies))
	for i, a := range replies {
		if err := json.Unmarshal(a.body, &parts[i]); err != nil {
			return nil, fmt.Errorf("answer of shard %d: %w", i, err)
		}
		of[i] = shardStats{i, a.from.name, a.body}
	}
	all := mergeStats(parts)
	all.Shards = of
	return all, nil
}

func mergeStats(parts []stats) stats {
	all := parts[0]
	all.Searches, all.Slots, all.Memory, all.Stale = serve.SearchesInfo{}, serve.SlotsInfo{}, serve.MemoryInfo{}, ""
	var stale []string
	snapshots, unlimited, confirmed, took := []client.Snapshot{}, false, true, 0.0
	for i, p := range parts {
		all.UptimeSeconds = min(all.UptimeSeconds, p.UptimeSeconds)
		if p.Stale != "" {
			stale = append(stale, fmt.Sprintf("shard %d: %s", i, p.Stale))
		}
		confirmed = confirmed && p.ConfirmedSeconds != nil
		all.ConfirmedSeconds, all.FreshnessSeconds = longest(all.ConfirmedSeconds, p.ConfirmedSeconds), longest(all.FreshnessSeconds, p.FreshnessSeconds)
		all.Searches.Count, took = all.Searches.Count+p.Searches.Count, took+float64(p.Searches.Count)*p.Searches.MeanMicroseconds
		all.Slots = serve.SlotsInfo{Running: all.Slots.Running + p.Slots.Running, MaxRunning: all.Slots.MaxRunning + p.Slots.MaxRunning,
			Waiting: all.Slots.Waiting + p.Slots.Waiting, MaxWaiting: all.Slots.MaxWaiting + p.Slots.MaxWaiting}
		all.Memory = serve.MemoryInfo{WantedBytes: all.Memory.WantedBytes + p.Memory.WantedBytes, LimitBytes: all.Memory.LimitBytes + p.Memory.LimitBytes}
		unlimited = unlimited || p.Memory.LimitBytes == 0
		if p.Snapshot != nil {
			snapshots = append(snapshots, *p.Snapshot)
		}
	}
	all.Stale = strings.Join(stale, "; ")
	if !confirmed {
		all.ConfirmedSeconds = nil
	}
	if all.Searches.Count > 0 {
		all.Searches.MeanMicroseconds = took / float64(all.Searches.Count)
	}
	if unlimited {
		all.Memory.LimitBytes = 0
	}
	all.Snapshot, all.Live = nil, nil
	if len(snapshots) == len(parts) {
		whole := mergeSnapshots(snapshots)
		all.Snapshot, all.Live = &whole, mergeLive(parts)
	}
	return all
}

func longest(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// mergeLive weighs the recall of shards by their rows: of the best hits of all each has a share like that. Each shard measures by itself
// whether it finds its own best, all k of them, of which a merged answer takes those that are easiest to find.
func mergeLive(parts []stats) *schemas.Estimate {
	all, rows := &schemas.Estimate{}, 0.0
	for _, p := range parts {
		n := float64(p.Snapshot.LiveRows)
		switch {
		case n == 0:
			continue
		case p.Live == nil:
			return nil
		}
		rows += n
		all.Recall, all.Low, all.High, all.Queries = all.Recall+n*p.Live.Recall, all.Low+n*p.Live.Low, all.High+n*p.Live.High, all.Queries+p.Live.Queries
	}
	if rows == 0 {
		return nil
	}
	all.Recall, all.Low, all.High = all.Recall/rows, all.Low/rows, all.High/rows
	return all
}
