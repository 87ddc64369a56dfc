package serve

import (
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/pipeline/trace"
)

// noteScan tells of a scan what a person who wonders why it took so long wants to know, and links to the swap that brought what
// was searched.
func noteScan(span trace.Span, on *served, q *queries, k, results int, plan search.Plan, u search.Usage) {
	span.Link(on.trace)
	span.Text("adastream.plan", q.kind.String())
	span.Int("adastream.generation", on.Manifest().Generation)
	span.Int("adastream.queries", int64(results))
	span.Int("adastream.k", int64(k))
	span.Int("adastream.nprobe", int64(plan.NProbe))
	span.Int("adastream.lists_probed", int64(u.Lists))
	span.Int("adastream.codes_scanned", int64(u.Codes))
	span.Int("adastream.refined", int64(u.Refined))
}
