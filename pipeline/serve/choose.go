package serve

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/snapshot"
)

// degradedOverload is a reason why an answer is less than what was asked for, beside those of package recall: the query waited
// too long for a slot, and the cheapest plan that reaches the floor it is.
const degradedOverload = "overload"

// choose turns a wish into a plan, a cheaper one if the query has waited longer than the node's limit, or if half of those wait that
// may: what comes next is to refuse. Degraded says why the plan is less than what was asked for, if it is.
func (n *Node) choose(snap *snapshot.Snapshot, w recall.Wish, waited time.Duration) (c recall.Choice, degraded string, err error) {
	if c, err = w.Choose(snap, n.pace.now()); err != nil {
		return c, "", err
	}
	degraded = c.Short
	if n.o.DegradeTo > 0 && (waited > n.o.DegradeAfter || n.crowded(0.5)) {
		if cheaper, ok := w.Degrade(c, snap, n.o.DegradeTo); ok {
			c, degraded = cheaper, degradedOverload
		}
	}
	if degraded != "" {
		n.metrics.degraded.WithLabelValues(degraded).Inc()
	}
	return c, degraded, nil
}

// pace is how much longer than on the builder a query takes here, as a moving mean over queries whose plan was measured: by
// it budgets in microseconds hold on this machine and under its load. The zero value is 1.
type pace struct{ excess atomic.Uint64 } // bits of the pace minus 1

const (
	paceShare = 1.0 / 16 // of a query in the mean
	paceMost  = 64       // times that of the builder that a single query counts: a pause of the machine says little
)

func (p *pace) now() float64 { return 1 + math.Float64frombits(p.excess.Load()) }

// add counts a query that took a time and was expected to take another.
func (p *pace) add(took, expected float64) {
	if !(expected > 0) {
		return
	}
	ratio := min(took/expected, paceMost)
	for {
		old := p.excess.Load()
		excess := math.Float64frombits(old)
		if p.excess.CompareAndSwap(old, math.Float64bits(excess+paceShare*(ratio-1-excess))) {
			return
		}
	}
}
