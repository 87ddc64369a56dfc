package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// totals counts what was done and what came of it.
type totals struct {
	mu     sync.Mutex
	deeds  map[string]int // by kind, but faults of the store
	exits  int            // processes that ended by themselves
	faults []string       // all that is wrong
}

func (t *totals) count(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deeds[kind]++
}

// fault notes something that must not be.
func (t *totals) fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}

func (t *totals) exit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exits++
}

// Totals are the sums of a campaign.
type Totals struct {
	Rounds, Kills, Freezes, Brokers, Stalls, Exits                         int
	Leaders                                                                int            // times that a partition got another leader, or the same one anew
	Network, Store                                                         map[string]int // faults by kind
	Points, Clocks                                                         map[string]int // kills at certain requests, jumps of clocks
	Damaged                                                                map[string]int // objects of the store by what was done to them
	Caught                                                                 int            // of those, by a node, by verify and without harm to others
	Partitions                                                             int            // added to the topic, and refused
	Full                                                                   int            // times that a disk was
	Rows, Queries, Failed, Excused, Lost, Doubled, Wrong, Stale, Backwards int64
	Tokens, Generations                                                    int64
	Seconds                                                                float64
	Faults                                                                 []string // what is wrong, empty if all went well
}

func sum(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func listed(counts map[string]int) string {
	var s []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		s = append(s, fmt.Sprintf("%s %d", kind, counts[kind]))
	}
	return strings.Join(s, ", ")
}

// String is a table of one line for what was done, and one for what came of it.
func (t Totals) String() string {
	return fmt.Sprintf(`| rounds | kills | of these at points | stops | broker kills, stops, leaders elected | clocks | full disks | added partitions | network faults | store faults | damaged objects | seconds |
|---|---|---|---|---|---|---|---|---|---|---|---|
| %d | %d | %d (%s) | %d | %d, %d, %d | %s | %d | %d | %d (%s) | %d (%s) | %d (%s) | %.0f |

| rows | generations | queries | failed | lost | doubled | wrong | read-backs | stale | backwards | exits | damaged objects that were caught |
|---|---|---|---|---|---|---|---|---|---|---|---|
| %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d of %d |`,
		t.Rounds, t.Kills, sum(t.Points), listed(t.Points), t.Freezes, t.Brokers, t.Stalls, t.Leaders, listed(t.Clocks), t.Full, t.Partitions, sum(t.Network), listed(t.Network),
		sum(t.Store), listed(t.Store), sum(t.Damaged), listed(t.Damaged), t.Seconds,
		t.Rows, t.Generations, t.Queries, t.Failed, t.Lost, t.Doubled, t.Wrong, t.Tokens, t.Stale, t.Backwards, t.Exits, t.Caught, sum(t.Damaged))
}

func (c *campaign) sums(began time.Time, rounds int) Totals {
	t := Totals{Rounds: rounds, Network: map[string]int{}, Store: map[string]int{}, Points: map[string]int{}, Clocks: map[string]int{}, Damaged: map[string]int{}, Seconds: time.Since(began).Seconds(), Rows: c.generator.rows,
		Queries: c.clients.queries.Load(), Failed: c.clients.failed.Load(), Excused: c.clients.excused.Load(), Stale: c.clients.stale.Load(),
		Backwards: c.clients.backwards.Load(), Tokens: c.clients.tokens.Load(),
		Leaders: int(c.truth.leaders.Load()), Lost: c.checker.lost, Doubled: c.checker.doubled, Wrong: c.checker.wrong}
	if c.checker.last != nil {
		t.Generations = c.checker.last.Generation
	}
	for _, i := range c.injectors {
		for kind, n := range i.injected() {
			t.Store[kind] += n
		}
	}
	c.totals.mu.Lock()
	defer c.totals.mu.Unlock()
	t.Exits = c.totals.exits
	for kind, n := range c.totals.deeds {
		switch kind {
		case eventKill:
			t.Kills = n
		case eventFreeze:
			t.Freezes = n
		case eventBroker:
			t.Brokers = n
		case eventStall:
			t.Stalls = n
		case eventFull:
			t.Full = n
		case eventPartition:
			t.Partitions = n
		case pointPut, pointDone, pointDownload, pointDownloaded:
			t.Points[kind] = n
		case clockMinutes, clockHours, clockSaid, clockKilled:
			t.Clocks[kind] = n
		case damageFlip, damageCut, damageGone, damageSwap:
			t.Damaged[kind] = n
		case damageCaught:
			t.Caught = n
		default:
			t.Network[kind] = n
		}
	}
	t.Faults = slices.Concat(c.totals.faults, c.checker.faults, c.clients.complaints())
	return t
}
