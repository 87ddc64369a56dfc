package ui

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/schemas"
)

// Charts are laid out in percent of their width, so that text keeps its size on a telephone, and in pixels of their height.
const (
	chartLeft   = 8.0 // percent, for the numbers of the axis
	chartRight  = 97.0
	chartTop    = 12.0 // pixels
	chartBottom = 214.0
)

// tick is a number on an axis, and where.
type tick struct {
	At   float64
	Text string
}

func percent(x float64) string { return fmt.Sprintf("%.2f%%", x) }

func pixels(y float64) string { return fmt.Sprintf("%.1f", y) }

// X is the place of a tick of the lower axis.
func (t tick) X() string { return percent(t.At) }

// paretoChart is measured plans, by what they cost and what they find.
type paretoChart struct {
	Points []planPoint
	Lines  []segmentLine
	X, Y   []tick
	Goal   float64 // where the recall is that the index promises
	Target float64
	Below  int // points of narrower plans that are not in the chart
}

type planPoint struct {
	schemas.PlanPoint
	X, Y      string
	Low, High string // ends of the confidence interval
	Chosen    bool   // what a query gets that does not say
	Below     bool   // the chart
}

// Class is how the point is drawn.
func (p planPoint) Class() string {
	switch {
	case p.Chosen:
		return "point chosen"
	case p.Dims != 0:
		return "point narrow"
	}
	return "point"
}

// Title says all of it, for who points at it.
func (p planPoint) Title() string {
	width := ""
	if p.Dims != 0 {
		width = fmt.Sprintf(" of %d dimensions", p.Dims)
	}
	decided := ""
	if p.Originals {
		decided = ", originals decide"
	}
	return fmt.Sprintf("recall %.3f (%.3f to %.3f)%s, %.0f µs: %d lists, codes of %d dimensions, %d refined%s", p.Recall, p.PlanPoint.Low, p.PlanPoint.High, width, p.Micros, p.NProbe, p.ScanDims, p.Refine, decided)
}

type segmentLine struct {
	X1, Y1, X2, Y2 string
	Narrow         bool
}

// paretoOf draws plans, nil if there are none.
func paretoOf(plans []schemas.PlanPoint, target float64) *paretoChart {
	if len(plans) == 0 {
		return nil
	}
	bottom := paretoBottom(plans, target)
	low, high := math.Inf(1), 0.0
	for _, p := range plans {
		low, high = min(low, max(0.1, p.Micros)), max(high, p.Micros)
	}
	left, right := math.Log10(low)-0.05, math.Log10(max(high, low*1.1))+0.05
	x := func(micros float64) float64 {
		return chartLeft + (chartRight-chartLeft)*(math.Log10(max(0.1, micros))-left)/(right-left)
	}
	y := func(r float64) float64 {
		return chartBottom - (chartBottom-chartTop)*(max(bottom, r)-bottom)/(1-bottom)
	}
	c := &paretoChart{Goal: y(target), Target: target, X: logTicks(low, high, x)}
	step := 0.05
	for (1-bottom)/step > 5.5 {
		step *= 2
	}
	for r := 1.0; r > bottom-0.001; r -= step {
		c.Y = append(c.Y, tick{y(r), fmt.Sprintf("%.2f", r)})
	}
	chosen, reached := recall.Cheapest(recall.Of(plans, 0), target)
	for start := 0; start < len(plans); {
		same := recall.Of(plans[start:], plans[start].Dims)
		start += len(same)
		before, best := planPoint{}, 0.0
		for _, p := range slices.SortedFunc(slices.Values(same), func(a, b schemas.PlanPoint) int { return cmp.Compare(a.Micros, b.Micros) }) {
			point := planPoint{p, percent(x(p.Micros)), pixels(y(p.Recall)), pixels(y(p.Low)), pixels(y(p.High)), reached && p == chosen, p.Recall < bottom}
			c.Points = append(c.Points, point)
			if point.Below {
				c.Below++
			}
			if p.Recall <= best || point.Below { // of the times of a busy machine; the line is what is worth choosing by them
				continue
			}
			if best > 0 {
				c.Lines = append(c.Lines, segmentLine{before.X, before.Y, point.X, point.Y, p.Dims != 0})
			}
			before, best = point, p.Recall
		}
	}
	return c
}

// paretoBottom leaves room for all plans of the full width, and the best one of the next narrower one.
func paretoBottom(plans []schemas.PlanPoint, target float64) float64 {
	least, narrow, widest := target, 0.0, 0
	for _, p := range plans {
		switch {
		case p.Dims == 0:
			least = min(least, p.Low)
		case p.Dims > widest:
			widest, narrow = p.Dims, p.Recall
		case p.Dims == widest:
			narrow = max(narrow, p.Recall)
		}
	}
	if widest > 0 {
		least = min(least, narrow)
	}
	return max(0, math.Floor(10*least-0.1)/10)
}

// logTicks are 1, 2 and 5 times the powers of ten within a range, fewer if those are many.
func logTicks(low, high float64, x func(float64) float64) []tick {
	steps := []float64{1, 2, 5}
	if high/low > 200 {
		steps = steps[:1]
	}
	var ticks []tick
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high); e++ {
		for _, s := range steps {
			if v := s * math.Pow(10, e); v >= low && v <= high {
				ticks = append(ticks, tick{x(v), number(v)})
			}
		}
	}
	return ticks
}

// histogram is how many lists have how many rows.
type histogram struct {
	Bars   []histogramBar
	X, Y   []tick
	Median int
	P99    int
	Empty  int
	Lists  int
}

type histogramBar struct {
	X, Width  string
	Y, Height float64
	Title     string
}

const histogramBars = 40

// histogramOf draws the lengths of lists, nil if there are none.
func histogramOf(lengths []int) *histogram {
	if len(lengths) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(lengths))
	longest := sorted[len(sorted)-1]
	step := max(1, (longest+histogramBars)/histogramBars)
	counts := make([]int, longest/step+1)
	h := &histogram{Median: sorted[len(sorted)/2], P99: sorted[len(sorted)*99/100], Lists: len(sorted)}
	most := 0
	for _, n := range sorted {
		if n == 0 {
			h.Empty++
		}
		counts[n/step]++
		most = max(most, counts[n/step])
	}
	width := (chartRight - chartLeft) / float64(len(counts))
	for i, n := range counts {
		height := (chartBottom - chartTop) * float64(n) / float64(most)
		h.Bars = append(h.Bars, histogramBar{percent(chartLeft + width*float64(i)), percent(max(0.2, width-0.25)), chartBottom - height, height,
			fmt.Sprintf("%s of %d to %d rows", plural(n, "list"), i*step, (i+1)*step-1)})
	}
	for _, i := range []int{0, len(counts) / 4, len(counts) / 2, 3 * len(counts) / 4} {
		if t := (tick{chartLeft + width*float64(i), count(i * step)}); len(h.X) == 0 || h.X[len(h.X)-1] != t {
			h.X = append(h.X, t)
		}
	}
	for i := range 3 {
		h.Y = append(h.Y, tick{chartBottom - (chartBottom-chartTop)*float64(i)/2, count(most * i / 2)})
	}
	return h
}
