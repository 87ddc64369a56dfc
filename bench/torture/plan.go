package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// event is one deed of a round.
type event struct {
	at, lasts time.Duration
	kind      string
	target    string  // role, or link
	index     int     // of the member of the role
	share     float64 // of requests, for faults of the store
	toxic     toxic
	point     point
	clock     clock
}

// Kinds of events. Those of the store's answers are in injector.go.
const (
	eventKill   = "kill"
	eventFreeze = "freeze"
	eventZombie = "zombie" // a builder is frozen while another one takes over, then thawed
	eventStorm  = "storm"  // ingestors come and go
	eventBroker = "broker" // killed and started again
	eventStall  = "stall"  // a broker is stopped, until long after another one leads what it led
	eventToxic  = "toxic"
	eventCut    = "down" // a line that refuses and breaks connections
	eventClock  = "clock"
	eventPoint  = "point" // a kill at a certain request
	eventFull   = "full"  // a disk

	eventPartition = "partition" // added to the topic, in the second round
)

func (e event) String() string {
	s := fmt.Sprintf("%6.2fs %-8s %s", e.at.Seconds(), e.kind, e.target)
	switch {
	case e.kind == eventToxic:
		s += fmt.Sprintf(" %s %s %v", e.toxic.Type, e.toxic.Stream, e.toxic.Attributes)
	case e.kind == eventClock:
		return fmt.Sprintf("%s %d: %s", s, e.index, e.clock)
	case e.kind == eventPoint:
		s += fmt.Sprintf(" %d %s", e.index, e.point)
	case e.share > 0:
		s += fmt.Sprintf(" of %.0f%% of requests", 100*e.share)
	case e.kind == eventKill || e.kind == eventFreeze || e.kind == eventBroker || e.kind == eventStall:
		s += fmt.Sprintf(" %d", e.index)
	}
	return fmt.Sprintf("%s for %.2fs", s, e.lasts.Seconds())
}

// size is how many events of each family a round has, and how long it goes on.
type size struct {
	window                time.Duration
	kills, network, store int
	points, clocks, disks int
	brokers               int // of the cluster: where there are more than one, so many deeds are of them
}

// draw makes the schedule of a round: a function of seed and round.
func draw(seed uint64, round int, s size) []event {
	rng := rand.New(rand.NewPCG(seed, uint64(round)))
	var events []event
	add := func(n int, one func(*rand.Rand) event) {
		for range n {
			e := one(rng)
			e.at = time.Duration(rng.Int64N(int64(s.window)))
			events = append(events, e)
		}
	}
	add(s.kills, drawProcess)
	add(s.network, drawNetwork)
	add(s.store, drawStore)
	add(s.points, drawPoint)
	add(s.clocks, drawClock)
	add(s.disks, drawFull)
	if s.brokers > 1 {
		for i, e := range events {
			if e.target == linkKafka {
				events[i].target = linkOfBroker(rng.IntN(s.brokers))
			}
		}
		add(s.brokers, func(rng *rand.Rand) event {
			e := event{kind: eventBroker, index: rng.IntN(s.brokers), lasts: between(rng, 0, 6)}
			if rng.IntN(3) == 0 {
				e.kind, e.lasts = eventStall, between(rng, 1, 9)
			}
			return e
		})
	}
	if round%4 == 2 && s.brokers <= 1 {
		add(1, func(rng *rand.Rand) event { return event{kind: eventBroker, lasts: between(rng, 0, 2)} })
	}
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	return events
}

// drawProcess draws deaths, mostly.
func drawProcess(rng *rand.Rand) event {
	role := []string{roleIngestor, roleIngestor, roleBuilder, roleBuilder, roleQuery}[rng.IntN(5)]
	switch rng.IntN(20) {
	case 0, 1, 2:
		return event{kind: eventFreeze, target: role, index: rng.IntN(2), lasts: between(rng, 0.2, 4)}
	case 3:
		return event{kind: eventFreeze, target: roleIngestor, index: rng.IntN(2), lasts: between(rng, 10, 14)} // longer than its membership
	case 4:
		return event{kind: eventZombie, target: roleBuilder, lasts: between(rng, 1, 6)}
	case 5:
		return event{kind: eventStorm, target: roleIngestor, lasts: between(rng, 0.5, 4)}
	default:
		return event{kind: eventKill, target: role, index: rng.IntN(2), lasts: between(rng, 0, 0.5)}
	}
}

func drawNetwork(rng *rand.Rand) event {
	e := event{kind: eventToxic, target: links[rng.IntN(len(links))], lasts: between(rng, 0.3, 4)}
	stream := []string{"upstream", "downstream"}[rng.IntN(2)]
	switch rng.IntN(7) {
	case 0:
		e.kind = eventCut
	case 1:
		e.toxic = toxic{"latency", stream, map[string]int{"latency": 20 + rng.IntN(400), "jitter": rng.IntN(200)}}
	case 2:
		e.toxic = toxic{"bandwidth", stream, map[string]int{"rate": 1 + rng.IntN(64)}}
	case 3:
		e.toxic = toxic{"reset_peer", stream, map[string]int{"timeout": rng.IntN(300)}}
	case 4:
		e.toxic = toxic{"timeout", stream, map[string]int{"timeout": 0}} // a black hole
	case 5:
		e.toxic = toxic{"limit_data", stream, map[string]int{"bytes": 100 + rng.IntN(20_000)}}
	case 6:
		e.toxic = toxic{"slicer", stream, map[string]int{"average_size": 64, "size_variation": 32, "delay": 100}}
	}
	return e
}

func drawStore(rng *rand.Rand) event {
	kinds := []string{faultRefuse, faultRefuse, faultQuota, faultLost, faultLost, faultCut, faultFlip, faultSlow, faultList, faultSilence}
	e := event{kind: kinds[rng.IntN(len(kinds))], target: storeLinks[rng.IntN(len(storeLinks))], lasts: between(rng, 0.5, 5), share: 0.05 + 0.55*rng.Float64()}
	switch e.kind {
	case faultSilence:
		e.share /= 6
	case faultFlip:
		e.share = 0.2 + 0.8*rng.Float64() // few requests are for data
	}
	return e
}

// drawPoint draws a kill before or after a put of a certain kind, or in the middle of a download.
func drawPoint(rng *rand.Rand) event {
	e := event{kind: eventPoint, lasts: 6 * time.Second}
	folders := map[string][]string{
		roleIngestor: {"segments", "tombstones", "commits"},
		roleBuilder:  {"chunks", "models", "dead", "manifests", "manifests", "channels", "channels", ""},
	}
	switch rng.IntN(4) {
	case 0:
		e.target = roleIngestor
	case 1, 2:
		e.target = roleBuilder
	default:
		e.target, e.index = roleQuery, rng.IntN(2)
		e.point = point{at: []string{pointDownload, pointDownloaded}[rng.IntN(2)], share: rng.Float64(), late: between(rng, 0, 0.02)}
		return e
	}
	of := folders[e.target]
	e.point = point{at: []string{pointPut, pointDone}[rng.IntN(2)], folder: of[rng.IntN(len(of))]}
	return e
}

// drawClock draws a clock that is off by minutes, or by hours for a while.
func drawClock(rng *rand.Rand) event {
	role := []string{roleIngestor, roleBuilder, roleQuery}[rng.IntN(3)]
	e := event{kind: eventClock, target: role, index: rng.IntN(2), clock: clock{from: between(rng, 0.5, 2)}}
	limit := signedFor - time.Minute
	if rng.IntN(2) == 0 {
		e.clock.length = between(rng, 4, 8)
		limit = 48 * time.Hour
	}
	e.clock.by = time.Duration(rng.Int64N(int64(2*limit)) - int64(limit)).Round(time.Second)
	return e
}

// drawFull draws a disk that has no room for a while.
func drawFull(rng *rand.Rand) event {
	role := []string{roleBuilder, roleQuery}[rng.IntN(2)]
	return event{kind: eventFull, target: role, index: 0, lasts: between(rng, 1, 5)}
}

func between(rng *rand.Rand, low, high float64) time.Duration {
	return time.Duration((low + (high-low)*rng.Float64()) * float64(time.Second))
}
