package main

import (
	_ "embed"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/adastream/adastream/index/eval"
)

// plotTemplate draws with the colour of the text around it, and colours that show on light and dark.
//
//go:embed eval_plot.svg
var plotTemplate string

const (
	plotWidth, plotHeight = 760, 460
	plotLeft, plotRight   = 60, 250 // the legend is at the right
	plotTop, plotBottom   = 30, 50
)

// plot is a template's data: all places are in pixels.
type plot struct {
	Width, Height            int
	Left, Right, Top, Bottom float64
	Title, X                 string
	XTicks, YTicks           []tick
	Curves                   []curve
}

type tick struct {
	At   float64
	Text string
}

type curve struct {
	Name, Colour, Dash string
	Points             []point
	LegendY            float64
}

type point struct {
	X, Y float64
	Text string
}

var (
	plotColours = []string{"#3b82f6", "#ef4444", "#10b981", "#f59e0b", "#a855f7", "#14b8a6", "#ec4899", "#84cc16", "#64748b"}
	plotDashes  = []string{"", "5 3", "2 2"}
)

// plots writes quality against each cost, one curve for each family.
func (r *evalReport) plots(dir string) error {
	t, err := template.New("plot").Parse(plotTemplate)
	if err != nil {
		return err
	}
	inverted := []string{eval.RigidIVF, eval.MRIVF, eval.MGIVF, eval.AdannsIVF, eval.AdannsD, eval.TruncatedIVF, eval.ProjectedIVF}
	searches := append([]string{eval.MRL, eval.Rigid, eval.Adaptive, eval.Funnel}, inverted...)
	coded := []string{eval.RigidOPQ, eval.AnyOPQ, eval.MROPQ, eval.AdannsOPQ, eval.TruncatedOPQ, eval.ProjectedOPQ, eval.RigidBoth, eval.AdannsBoth, eval.Reranked}
	ours := []string{eval.ProductOne, eval.ProductTwo}
	for _, p := range []struct {
		file, title, x string
		families       []string
		of             func(*eval.Result) float64
	}{
		{"mflops.svg", "by multiply-adds of a query", "million multiply-adds", append(searches, ours...), func(x *eval.Result) float64 { return x.MFLOPs }},
		{"microseconds.svg", "by time of a query", "microseconds, one thread", append(append(searches, eval.AdannsBoth), ours...), func(x *eval.Result) float64 { return x.Micros }},
		{"bytes.svg", "by memory", "bytes a vector", append(append([]string{eval.MRL, eval.Rigid, eval.Truncated, eval.Projected}, coded...), ours...), func(x *eval.Result) float64 { return x.Bytes }},
	} {
		drawn := r.draw(p.families, p.of)
		if len(drawn.Curves) == 0 {
			continue
		}
		drawn.Title, drawn.X = r.qualityName()+" in per cent "+p.title, p.x
		f, err := os.Create(filepath.Join(dir, p.file))
		if err != nil {
			return err
		}
		if err := t.Execute(f, drawn); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// draw places the fronts of families: cost on a logarithmic axis, quality in per cent.
func (r *evalReport) draw(families []string, cost func(*eval.Result) float64) *plot {
	p := &plot{Width: plotWidth, Height: plotHeight, Left: plotLeft, Right: plotWidth - plotRight, Top: plotTop, Bottom: plotHeight - plotBottom}
	var fronts [][]*eval.Result
	low, high, least, most := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	var names []string
	for _, f := range families {
		front := r.front(f, cost)
		if len(front) == 0 {
			continue
		}
		names, fronts = append(names, f), append(fronts, front)
		for _, x := range front {
			low, high = min(low, cost(x)), max(high, cost(x))
			least, most = min(least, 100*r.quality(x)), max(most, 100*r.quality(x))
		}
	}
	if len(fronts) == 0 {
		return p
	}
	low, high = math.Log10(low)-0.05, math.Log10(high)+0.05
	most += 0.02*(most-least) + 0.1
	least = max(least, most-30) // what is far below needs no resolution
	xAt := func(v float64) float64 { return p.Left + (p.Right-p.Left)*(math.Log10(v)-low)/(high-low) }
	yAt := func(v float64) float64 { return p.Bottom - (p.Bottom-p.Top)*(v-least)/(most-least) }
	for decade := math.Floor(low); decade <= high; decade++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, decade); math.Log10(v) >= low && math.Log10(v) <= high {
				p.XTicks = append(p.XTicks, tick{xAt(v), strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)})
			}
		}
	}
	step := math.Pow(10, math.Floor(math.Log10(most-least)))
	if (most-least)/step < 4 {
		step /= 2
	}
	for v := math.Ceil(least/step) * step; v <= most; v += step {
		p.YTicks = append(p.YTicks, tick{yAt(v), fmt.Sprintf("%.3g", v)})
	}
	for i, front := range fronts {
		c := curve{Name: names[i], Colour: plotColours[i%len(plotColours)], Dash: plotDashes[i/len(plotColours)%len(plotDashes)], LegendY: p.Top + 8 + 20*float64(i)}
		for _, x := range front {
			if y := 100 * r.quality(x); y >= least {
				c.Points = append(c.Points, point{xAt(cost(x)), yAt(y), fmt.Sprintf("%s: %.1f %%, %.3g", x.Name, y, cost(x))})
			}
		}
		p.Curves = append(p.Curves, c)
	}
	return p
}
