package eval

import "math"

// Families, by the names of the papers.
const (
	MRL      = "MRL"
	Rigid    = "rigid"
	Adaptive = "AR"
	Funnel   = "funnel"

	RigidIVF   = "rigid IVF"
	MRIVF      = "MR-IVF"
	MGIVF      = "MG-IVF"
	AdannsIVF  = "AdANNS-IVF"
	AdannsD    = "AdANNS-D"
	RigidOPQ   = "rigid OPQ"
	AnyOPQ     = "rigid OPQ, any width"
	MROPQ      = "MR OPQ"
	AdannsOPQ  = "AdANNS-OPQ"
	RigidBoth  = "rigid IVF+OPQ"
	AnyBoth    = "rigid IVF+OPQ, any width"
	AdannsBoth = "AdANNS-IVF+OPQ"

	// Controls: one encoder of full width made shorter by other means than Matryoshka training.
	Truncated    = "truncated"
	Projected    = "PCA"
	RandomDims   = "random dims"
	TruncatedIVF = "truncated IVF"
	ProjectedIVF = "PCA IVF"
	TruncatedOPQ = "truncated OPQ"
	ProjectedOPQ = "PCA OPQ"

	// Beyond the papers.
	Bounded    = "MRL, bounded"
	Reranked   = "AdANNS-OPQ, reranked"
	ProductOne = "Adastream, a row in 1 list"
	ProductTwo = "Adastream, a row in 2 lists"
	ProductDC  = "Adastream, fixed d_c"
)

var (
	probes     = []int{1, 2, 4, 8} // of inverted files
	fewProbes  = []int{1, 4}
	codeSizes  = []int{8, 16, 32, 64} // bytes
	shortlists = []int{50, 200, 800}  // rows that adaptive retrieval ranks again; the papers' is 200
	// The papers' funnels: how many rows each stage scores. Widths double, and the last stage is the full width.
	funnels = [][]int{{200, 100, 50, 25, 10}, {400, 200, 50, 25, 10}, {800, 400, 200, 50, 10}}
)

// Catalogue returns the papers' systems and their controls for data: each family on every width of the ladder that it makes
// sense on.
func Catalogue(d *Data) []System {
	c := catalogue{data: d, full: d.Ladder.Dim()}
	c.lists = listCounts(d.Rows.N)
	for _, w := range d.Ladder {
		c.scan(MRL, View{d.Vector, Prefix, w}, 0)
	}
	for _, name := range d.Rigid {
		c.scan(Rigid, c.whole(name), 0)
	}
	c.reranking()
	c.inverted()
	c.coded()
	c.both()
	if len(d.Rigid) > 0 {
		c.controls(c.whole(d.Rigid[len(d.Rigid)-1]))
	}
	return c.systems
}

// listCounts are three powers of two around the square root of the number of rows: with sqrt(nprobe n d_s/d_c) lists a query
// costs least.
func listCounts(n int) (counts []int) {
	middle := 1 << int(math.Round(math.Log2(math.Sqrt(float64(n)))))
	for nlist := middle / 4; nlist <= 4*middle; nlist *= 4 {
		if nlist >= 1 && nlist <= n {
			counts = append(counts, nlist)
		}
	}
	return counts
}

type catalogue struct {
	data    *Data
	full    int
	lists   []int
	systems []System
}

func (c *catalogue) add(s System) { c.systems = append(c.systems, s) }

func (c *catalogue) scan(family string, v View, bytes int) {
	c.add(System{Family: family, Scan: Scan{View: v, Bytes: bytes}})
}

// whole is the full width of a column.
func (c *catalogue) whole(column string) View { return View{column, Prefix, c.data.width(column)} }

func (c *catalogue) prefix(w int) View { return View{c.data.Vector, Prefix, w} }

// reranking adds exact search that a prefix bounds, adaptive retrieval and funnels.
func (c *catalogue) reranking() {
	for i, w := range c.data.Ladder[:len(c.data.Ladder)-1] {
		c.add(System{Family: Bounded, Scan: Scan{View: c.prefix(c.full), Bound: w}})
		for _, keep := range shortlists {
			c.add(System{Family: Adaptive, Scan: Scan{View: c.prefix(w)}, Rerank: []Stage{{c.full, keep}}})
		}
		for _, lists := range funnels {
			var stages []Stage
			for j, keep := range lists {
				stages = append(stages, Stage{c.data.Ladder[i+1+j], keep})
				if i+1+j == len(c.data.Ladder)-1 {
					break // as many stages as the ladder has levels left
				}
			}
			stages[len(stages)-1].Dims = c.full
			if len(stages) > 1 { // one stage is adaptive retrieval
				c.add(System{Family: Funnel, Scan: Scan{View: c.prefix(w)}, Rerank: stages})
			}
		}
	}
}

// ivf adds an inverted file for each number of lists and of probes.
func (c *catalogue) ivf(family string, coarse Coarse, scan Scan, lists, probes []int) {
	for _, nlist := range lists {
		for _, nprobe := range probes {
			if nprobe > nlist {
				continue
			}
			one := coarse
			one.NList, one.NProbe = nlist, nprobe
			c.add(System{Family: family, Coarse: &one, Scan: scan})
		}
	}
}

func (c *catalogue) inverted() {
	for i, scanned := range c.data.Rigid {
		c.ivf(RigidIVF, Coarse{View: c.whole(scanned)}, Scan{View: c.whole(scanned)}, c.lists, probes)
		for _, chosen := range c.data.Rigid[:i] {
			c.ivf(MGIVF, Coarse{View: c.whole(chosen)}, Scan{View: c.whole(scanned)}, c.lists, probes)
		}
	}
	for i, scanned := range c.data.Ladder {
		c.ivf(MRIVF, Coarse{View: c.prefix(scanned)}, Scan{View: c.prefix(scanned)}, c.lists, probes)
		for _, chosen := range c.data.Ladder[:i+1] { // any pair of widths, equal ones too
			c.ivf(AdannsIVF, Coarse{View: c.prefix(chosen)}, Scan{View: c.prefix(scanned)}, c.lists, probes)
		}
		if scanned < c.full {
			c.ivf(AdannsD, Coarse{View: c.prefix(scanned), Trained: c.full}, Scan{View: c.prefix(scanned), Stored: c.full}, c.lists, probes)
		}
	}
}

// coded adds scans of codes. Half a byte codes one dimension at least.
func (c *catalogue) coded() {
	for _, bytes := range codeSizes {
		if 2*bytes <= c.full {
			c.scan(MROPQ, c.prefix(c.full), bytes)
		}
		for _, w := range c.data.Ladder {
			if 2*bytes <= w {
				c.scan(AdannsOPQ, c.prefix(w), bytes)
				c.add(System{Family: Reranked, Scan: Scan{View: c.prefix(w), Bytes: bytes}, Rerank: []Stage{{c.full, 100}}})
			}
		}
		for i, name := range c.data.Rigid {
			if v := c.whole(name); 2*bytes <= v.Dims {
				c.scan(AnyOPQ, v, bytes)
				if i == len(c.data.Rigid)-1 {
					c.scan(RigidOPQ, v, bytes)
				}
			}
		}
	}
}

// both adds inverted files of codes, with the number of lists of which a query probes one in the papers.
func (c *catalogue) both() {
	lists := c.lists[len(c.lists)/2:][:1]
	for _, bytes := range codeSizes {
		for i, name := range c.data.Rigid {
			v := c.whole(name)
			if 2*bytes > v.Dims {
				continue
			}
			c.ivf(AnyBoth, Coarse{View: v}, Scan{View: v, Bytes: bytes}, lists, fewProbes)
			if i == len(c.data.Rigid)-1 {
				c.ivf(RigidBoth, Coarse{View: v}, Scan{View: v, Bytes: bytes}, lists, fewProbes)
			}
		}
		for _, scanned := range c.data.Ladder {
			if 2*bytes > scanned {
				continue
			}
			for _, chosen := range c.data.Ladder {
				if 8*chosen == c.full || 4*chosen == c.full {
					c.ivf(AdannsBoth, Coarse{View: c.prefix(chosen)}, Scan{View: c.prefix(scanned), Bytes: bytes}, lists, fewProbes)
				}
			}
		}
	}
}

// controls adds what one encoder of full width gives when it is cut, projected, or robbed of random dimensions.
func (c *catalogue) controls(whole View) {
	for _, w := range c.data.Ladder {
		if w > whole.Dims {
			continue
		}
		cut, projected, random := View{whole.Column, Prefix, w}, View{whole.Column, PCA, w}, View{whole.Column, Random, w}
		c.scan(Truncated, cut, 0)
		c.ivf(TruncatedIVF, Coarse{View: cut}, Scan{View: cut}, c.lists, probes)
		if w == whole.Dims {
			continue // nothing was left out
		}
		c.scan(Projected, projected, 0)
		c.scan(RandomDims, random, 0)
		c.ivf(ProjectedIVF, Coarse{View: projected}, Scan{View: projected}, c.lists, probes)
		for _, bytes := range codeSizes {
			if 4*bytes == w || 8*bytes == w { // what codes of prefixes are best at
				c.scan(TruncatedOPQ, cut, bytes)
				c.scan(ProjectedOPQ, projected, bytes)
			}
		}
	}
}
