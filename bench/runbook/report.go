package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

type machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	Load  string `json:"load"` // averages at the start
}

func thisMachine() machine { return machine{cpuid.CPU.BrandName, runtime.NumCPU(), load()} }

// shape says what a runbook does.
func (r *runbook) shape() string {
	rows, steps := map[string]int{}, map[string]int{}
	for i := range r.Steps {
		steps[r.Steps[i].Operation]++
		rows[r.Steps[i].Operation] += r.Steps[i].rows()
	}
	var parts []string
	for _, kind := range []string{opInsert, opDelete, opReplace} {
		if steps[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%d %ss of %d rows", steps[kind], kind, rows[kind]))
		}
	}
	return fmt.Sprintf("%s, %d searches; at most %d rows at once", strings.Join(parts, ", "), steps[opSearch], r.MaxPts)
}

// markdown is a table and the curve of recall of each runbook.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores; %d threads for each system, %d queries a search, medians of %d passes and %d rounds; load %s before, %s after.\n",
		r.Machine.CPU, r.Machine.Cores, r.Options.Threads, r.Options.Queries, r.Options.Passes, r.Options.Rounds, r.Machine.Load, load())
	for _, name := range r.runbooks {
		fmt.Fprintf(&b, "\n**%s**: %s\n\n", name, r.Shape[name])
		var systems []*summary
		for _, system := range r.Options.Systems {
			if s := r.summarise(name, system); s != nil {
				systems = append(systems, s)
			}
		}
		if len(systems) > 0 {
			table(&b, systems)
			curve(&b, systems)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.LeftOut)) {
		fmt.Fprintf(&b, "\n%s is left out: %s\n", name, r.LeftOut[name])
	}
	return b.String()
}

// summary is the medians of the replays of one runbook on one system.
type summary struct {
	system, setting     string
	rates, taken        map[string]float64 // rows a second, by operation: until they are searchable, and until the system has them
	recalls             []float64          // of each search
	wait, longest       float64
	qps, least, fastest float64
	resident, peak      float64 // MiB
	cpu, queued, total  float64
}

func (r *results) summarise(runbook, system string) *summary {
	var all []*replayed
	for _, one := range r.Replays {
		if one.Runbook == runbook && one.System == system {
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		return nil
	}
	of := func(f func(*replayed) float64) float64 {
		var x []float64
		for _, one := range all {
			x = append(x, f(one))
		}
		return median(x)
	}
	s := &summary{system: system, setting: all[0].Setting, rates: map[string]float64{}, taken: map[string]float64{}}
	for kind := range all[0].Updates {
		s.rates[kind] = of(func(one *replayed) float64 { return one.Updates[kind].searchable() })
		s.taken[kind] = of(func(one *replayed) float64 { return one.Updates[kind].taken() })
	}
	var waits, qps []float64
	for i := range all[0].Searches {
		s.recalls = append(s.recalls, of(func(one *replayed) float64 { return one.Searches[i].Recall }))
	}
	for _, one := range all {
		for _, p := range one.Searches {
			waits, qps = append(waits, p.Wait), append(qps, p.QPS)
		}
	}
	s.wait, s.longest = median(waits), slices.Max(waits)
	s.qps, s.least, s.fastest = median(qps), slices.Min(qps), slices.Max(qps)
	s.resident = of(func(one *replayed) float64 { return float64(one.Resident) / (1 << 20) })
	s.peak = of(func(one *replayed) float64 { return float64(one.Peak) / (1 << 20) })
	s.cpu = of(func(one *replayed) float64 { return one.CPU })
	s.queued = of(func(one *replayed) float64 { return one.Queued })
	s.total = of(func(one *replayed) float64 { return one.Total })
	return s
}

// table has a line for each system.
func table(b *strings.Builder, systems []*summary) {
	head := []string{"system", "setting", "recall@10 first, least, last"}
	kinds := slices.DeleteFunc([]string{opInsert, opDelete, opReplace}, func(kind string) bool { return systems[0].rates[kind] == 0 })
	for _, kind := range kinds {
		head = append(head, kind+"s, rows/s (without waits)")
	}
	head = append(head, "wait, s: median (most)", "queries/s: median (least-most)", "MiB at the end, peak", "CPU, s (waiting for a core)", "all, s")
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(head)))
	for _, s := range systems {
		cells := []string{s.system, s.setting, fmt.Sprintf("%.3f, %.3f, %.3f", s.recalls[0], slices.Min(s.recalls), s.recalls[len(s.recalls)-1])}
		for _, kind := range kinds {
			cells = append(cells, fmt.Sprintf("%s (%s)", thousands(s.rates[kind]), thousands(s.taken[kind])))
		}
		line(append(cells, fmt.Sprintf("%.2f (%.2f)", s.wait, s.longest), fmt.Sprintf("%s (%s-%s)", thousands(s.qps), thousands(s.least), thousands(s.fastest)),
			fmt.Sprintf("%.0f, %.0f", s.resident, s.peak), fmt.Sprintf("%.0f (%.0f)", s.cpu, s.queued), fmt.Sprintf("%.1f", s.total)))
	}
}

// curve is recall after each step, in thousandths.
func curve(b *strings.Builder, systems []*summary) {
	fmt.Fprint(b, "\nrecall@10 at each search, in thousandths:\n\n```\n")
	for _, s := range systems {
		fmt.Fprintf(b, "%-12s", s.system)
		for _, recall := range s.recalls {
			fmt.Fprintf(b, " %4.0f", 1000*recall)
		}
		fmt.Fprintln(b)
	}
	fmt.Fprint(b, "```\n")
}

// thousands writes a number with commas.
func thousands(x float64) string {
	if x >= 1e6 {
		return fmt.Sprintf("%.1f M", x/1e6)
	}
	text := fmt.Sprintf("%.0f", x)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
