package search

import (
	"fmt"
	"strconv"

	"github.com/adastream/adastream/index/snapshot"
)

// Plan says how much of an index a query looks at.
type Plan struct {
	NProbe   int  // lists, those with the best centroids first
	ScanDims int  // prefix that the codes are scanned on: a level of the ladder
	Refine   int  // best codes of the scan whose rows are scored on int8; a row may have two; raised to 2 k
	Exact    bool // score every int8 row instead; the other fields do not matter
}

// Validate reports as a [*QueryError] what of the plan does not fit the snapshot. A snapshot without a model is
// searched exactly, whatever the plan.
func (p Plan) Validate(snap *snapshot.Snapshot) error {
	mdl := snap.Model()
	if p.Exact || mdl == nil {
		return nil
	}
	if p.NProbe < 1 || p.NProbe > mdl.NList() {
		return &QueryError{"plan.nprobe", strconv.Itoa(p.NProbe), fmt.Sprintf("1 to %d", mdl.NList())}
	}
	if !mdl.Ladder().Has(p.ScanDims) {
		return &QueryError{"plan.scan_dims", strconv.Itoa(p.ScanDims), "one of " + mdl.Ladder().String()}
	}
	if p.Refine < 1 {
		return &QueryError{"plan.refine", strconv.Itoa(p.Refine), "at least 1"}
	}
	return nil
}
