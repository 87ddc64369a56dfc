package search

import (
	"fmt"
	"strconv"

	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/snapshot"
)

// Plan says how much of an index a query looks at.
type Plan struct {
	NProbe    int     // lists at most, those with the best centroids first
	Margin    float64 // lists whose score is so much below that of the best eighth are left out, see [coarse.Quantizer.Probe]; 0 leaves out none
	ScanDims  int     // prefix that the codes are scanned on: a level of the ladder
	Refine    int     // best codes of the scan whose rows are scored on int8; a row may have two; raised to 2 k
	Originals bool    // of those rows, those that may be among the k best are compared by their originals, where they are there or can be brought
	Exact     bool    // compare every row instead; of the other fields only Dims matters
	Dims      int     // width of all that is compared, a level of the ladder; 0 is the full one

	Remote Remote // brings the originals that the snapshot is without; nil for none, and int8 rows decide

	Among *filter.Selection // rows that can be hits, nil for all live ones
}

// Width is how many dimensions of vectors of dim values are compared.
func (p Plan) Width(dim int) int {
	if p.Dims == 0 {
		return dim
	}
	return p.Dims
}

// Validate reports as a [*QueryError] what of the plan does not fit the snapshot. A snapshot without a model is
// searched exactly, whatever the plan.
func (p Plan) Validate(snap *snapshot.Snapshot) error {
	ladder := mrl.Ladder(snap.Spec().Ladder)
	if p.Dims != 0 && !ladder.Has(p.Dims) {
		return mistake("dims", strconv.Itoa(p.Dims), "one of "+ladder.String())
	}
	if p.Among != nil && !p.Among.Of(snap) {
		return mistake("filter", "selected from another generation", "a selection of the one that is searched")
	}
	mdl := snap.Model()
	if p.Exact || mdl == nil {
		return nil
	}
	if p.NProbe < 1 || p.NProbe > mdl.NList() {
		return mistake("plan.nprobe", strconv.Itoa(p.NProbe), fmt.Sprintf("1 to %d", mdl.NList()))
	}
	if !ladder.Has(p.ScanDims) {
		return mistake("plan.scan_dims", strconv.Itoa(p.ScanDims), "one of "+ladder.String())
	}
	if width := p.Width(ladder.Dim()); p.ScanDims > width {
		return mistake("plan.scan_dims", strconv.Itoa(p.ScanDims), fmt.Sprintf("at most %d, which dims says", width))
	}
	if !(p.Margin >= 0) {
		return mistake("plan.margin", strconv.FormatFloat(p.Margin, 'g', -1, 64), "at least 0")
	}
	if p.Refine < 1 {
		return mistake("plan.refine", strconv.Itoa(p.Refine), "at least 1")
	}
	return nil
}
