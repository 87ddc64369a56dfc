package recall

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// Wish is what a query asks for, in one of five ways at most. Without any it is the recall that the index promises.
type Wish struct {
	TargetRecall *float64     // the cheapest plan that reaches it
	Budget       *Budget      // the best plan that costs no more
	Effort       *float64     // from 0, the cheapest measured plan, to 1, the best
	Plan         *search.Plan // this one
	Exact        bool         // every row

	// Remote says that originals which are not at hand can be brought, by reads that take milliseconds. They decide then where a recall
	// that is asked for or promised needs them, and where a query says so, but not where it says what it may cost.
	Remote bool

	Dims int // caps the width of all that is compared, with any of them; 0 does not
}

// Budget is what a query may cost, on average over queries like those that were measured. One of the fields is given, and positive.
type Budget struct {
	Microseconds *float64 `json:"microseconds"` // of one thread
	Lists        *float64 `json:"lists"`        // probed
	Bytes        *float64 `json:"bytes"`        // of codes and rows
}

// Reasons why a choice is less than what was asked for.
const (
	ShortBudget = "budget" // nothing measured is within the budget: the cheapest plan it is
	ShortDims   = "dims"   // no plan of the width that was asked for reaches the recall: the best one it is
	ShortInt8   = "int8"   // originals should decide, and are not here: int8 rows do
)

// Choice is a plan for a wish.
type Choice struct {
	Plan     search.Plan
	Expected *schemas.PlanPoint // what was measured of the plan; nil if nothing was
	Short    string             // why it is less than what was asked for, or ""
}

// Choose turns a wish into a plan, by what the builder measured of the snapshot. Pace is how much longer than on the builder
// a query takes here. A mistake in the wish is a [*search.QueryError].
func (w Wish) Choose(snap *snapshot.Snapshot, pace float64) (Choice, error) {
	if err := w.validate(); err != nil {
		return Choice{}, err
	}
	dims := w.Dims
	if dims == snap.Spec().Dim() {
		dims = 0
	}
	all := search.Plan{Exact: true, Dims: dims}
	if err := all.Validate(snap); err != nil {
		return Choice{}, err
	}
	plans, lacking := plansFor(snap, dims)
	var c Choice
	switch {
	case w.Exact || snap.Model() == nil:
		c = Choice{Plan: all}
	case w.Plan != nil:
		plan := *w.Plan
		plan.Dims = dims
		if plan.ScanDims == 0 {
			plan.ScanDims = plan.Width(mrl.Ladder(snap.Spec().Ladder).Dim())
		}
		if err := plan.Validate(snap); err != nil {
			return Choice{}, err
		}
		c = Choice{Plan: plan}
	case len(plans) == 0: // nothing was measured
		c = Choice{Plan: all}
		if w.Budget != nil {
			c.Short = ShortBudget
		}
	case w.Budget != nil:
		c = w.Budget.choose(plans, pace)
	case w.Effort != nil:
		c = chosen(plans[int(math.Round(*w.Effort*float64(len(plans)-1)))])
	default:
		c = w.aim(plans, lacking, snap.Spec().Defaults.TargetRecall, all)
	}
	if (c.Plan.Exact || c.Plan.Originals) && !snap.HasVectors() && !w.Remote {
		c.Short = ShortInt8
	}
	return c, nil
}

// plansFor returns the plans of a width that the snapshot has what it takes for, and those whose originals it lacks.
func plansFor(snap *snapshot.Snapshot, dims int) (plans, lacking []schemas.PlanPoint) {
	plans = Of(snap.Manifest().Plans, dims)
	decided := slices.IndexFunc(plans, func(p schemas.PlanPoint) bool { return p.Originals }) // from there on
	if decided < 0 || snap.HasVectors() {
		return plans, nil
	}
	return plans[:decided], plans[decided:]
}

// aim takes the cheapest plan that reaches the target: one whose originals have to be brought if no other does.
func (w Wish) aim(plans, lacking []schemas.PlanPoint, target float64, all search.Plan) Choice {
	if w.TargetRecall != nil {
		target = *w.TargetRecall
	}
	point, reached := Cheapest(plans, target)
	if !reached && w.Remote && len(lacking) > 0 {
		point, reached = Cheapest(lacking, target)
	}
	c := chosen(point)
	switch {
	case reached:
	case all.Dims != 0:
		c.Short = ShortDims
	case w.TargetRecall != nil:
		return Choice{Plan: all} // which reaches any
	case len(lacking) > 0 && !w.Remote:
		c.Short = ShortInt8
	}
	return c
}

func (b *Budget) choose(plans []schemas.PlanPoint, pace float64) Choice {
	c := chosen(plans[0])
	c.Short = ShortBudget
	for _, p := range plans { // in order of recall too
		if b.allows(p, pace) {
			c = chosen(p)
		}
	}
	return c
}

func (b *Budget) allows(p schemas.PlanPoint, pace float64) bool {
	switch {
	case b.Microseconds != nil:
		return p.Micros*pace <= *b.Microseconds
	case b.Lists != nil:
		return p.Lists <= *b.Lists
	default:
		return p.Bytes <= *b.Bytes
	}
}

func chosen(p schemas.PlanPoint) Choice { return Choice{Plan: planOf(p), Expected: &p} }

// Degrade returns the cheapest plan that reaches a floor of recall, if the wish leaves the plan to the node and that one costs
// less than the choice.
func (w Wish) Degrade(c Choice, snap *snapshot.Snapshot, floor float64) (Choice, bool) {
	if w.Exact || w.Plan != nil || snap.Model() == nil {
		return c, false
	}
	plans, _ := plansFor(snap, c.Plan.Dims)
	p, reached := Cheapest(plans, floor)
	if !reached || c.Expected != nil && c.Expected.Recall <= p.Recall { // of plans on a front more recall is more cost
		return c, false
	}
	return chosen(p), true
}

func (w Wish) validate() error {
	var given []string
	for _, way := range []struct {
		name  string
		given bool
	}{
		{"target_recall", w.TargetRecall != nil}, {"budget", w.Budget != nil}, {"effort", w.Effort != nil},
		{"plan", w.Plan != nil}, {"exact", w.Exact},
	} {
		if way.given {
			given = append(given, way.name)
		}
	}
	if len(given) > 1 {
		return &search.QueryError{Field: strings.Join(given, " and "), Value: "given together", Allowed: "at most one of target_recall, budget, effort, plan and exact"}
	}
	if t := w.TargetRecall; t != nil && !(*t > 0 && *t <= 1) {
		return &search.QueryError{Field: "target_recall", Value: number(*t), Allowed: "more than 0 and at most 1"}
	}
	if e := w.Effort; e != nil && !(*e >= 0 && *e <= 1) {
		return &search.QueryError{Field: "effort", Value: number(*e), Allowed: "0 to 1"}
	}
	if w.Budget != nil {
		return w.Budget.validate()
	}
	return nil
}

func (b *Budget) validate() error {
	given := 0
	for _, x := range []struct {
		name string
		v    *float64
	}{{"microseconds", b.Microseconds}, {"lists", b.Lists}, {"bytes", b.Bytes}} {
		if x.v == nil {
			continue
		}
		if !(*x.v > 0) || math.IsInf(*x.v, 0) {
			return &search.QueryError{Field: "budget." + x.name, Value: number(*x.v), Allowed: "more than 0"}
		}
		given++
	}
	if given != 1 {
		return &search.QueryError{Field: "budget", Value: fmt.Sprintf("%d of its limits are given", given), Allowed: "one of microseconds, lists and bytes"}
	}
	return nil
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
