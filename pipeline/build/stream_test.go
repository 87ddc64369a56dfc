package build

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// long runs the streams at the size that docs/quality.md has the figures of:
//
//	ADASTREAM_LONG=1 go test -run Stream -v -timeout 60m ./pipeline/build
func long() bool { return os.Getenv("ADASTREAM_LONG") != "" }

// stream feeds a builder with upserts of consecutive ids, modulo the number of rows that shall be live.
type stream struct {
	*world
	b        *Builder
	rows     int
	sent     int
	upkeep   time.Duration // CPU of what rewrites and recodes made anew of the model, see models
	rewrites int
	repairs  map[model.Repair]int

	copies float64     // share of rows that have the vector of a row before
	sample [][]float32 // vectors that are copied
}

func newStream(t *testing.T, seed uint64, rows int) *stream {
	if testing.Short() {
		t.Skip("a stream is a minute with -race: without -short")
	}
	if !long() { // where processor time is told apart by nobody
		t.Parallel()
	}
	s := &stream{world: newWorld(t, seed), rows: rows, repairs: map[model.Repair]int{}}
	s.noise = 1 // centroids leave about half of such vectors, as of real ones
	s.b = s.idle(256)
	s.b.o.RewriteRows, s.b.o.Threads = rows/8, 2
	return s
}

func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// send commits n upserts, as an ingestor with the builder's model would.
func (s *stream) send(n int) {
	s.t.Helper()
	rows := segment.NewRows(s.log.Spec())
	start := s.next[0]
	for i := range n {
		rows.IDs = append(rows.IDs, fmt.Sprint("id-", s.sent%s.rows))
		rows.Orders = append(rows.Orders, segment.Order{Timestamp: 1000 + start, Offset: start, Row: int32(i)})
		rows.AppendFloats(avx.Generic, s.drawn())
		rows.Attributes[0].AppendNull()
		s.sent++
	}
	s.append(rows, nil)
}

// drawn returns a vector of the topics, or a copy of one that was returned before.
func (s *stream) drawn() []float32 {
	if s.copies == 0 {
		return s.vector()
	}
	if len(s.sample) > 0 && s.rng.Float64() < s.copies {
		return s.sample[s.rng.IntN(len(s.sample))]
	}
	s.sample = append(s.sample, s.vector())
	return s.sample[len(s.sample)-1]
}

// remove commits deletes of ids.
func (s *stream) remove(ids []string) {
	s.t.Helper()
	start := s.next[0]
	var stones []segment.Tombstone
	for i, id := range ids {
		stones = append(stones, segment.Tombstone{ID: id, Order: segment.Order{Timestamp: 1000 + start, Offset: start, Row: int32(i)}})
	}
	s.append(segment.NewRows(s.log.Spec()), stones)
}

// append adds a commit of one offset.
func (s *stream) append(rows *segment.Rows, stones []segment.Tombstone) {
	s.t.Helper()
	start := s.next[0]
	s.world.append(0, start+1, 1000+start, rows, stones, s.b.model)
}

// work lets the builder do what is due.
func (s *stream) work() {
	s.t.Helper()
	s.each(s.b, func(j *job) {
		s.rewrites++
		s.repairs[j.repair]++
		if long() && s.b.model != nil && j.repair != model.Nothing {
			s.upkeep += s.models(j.inputs, j.repair)
		}
	})
}

// models does once more what a job does for a model, and returns its CPU: sampling, training, and what merging by the new model takes
// beyond merging by the present one, whose codes are copied.
func (s *stream) models(inputs []jobInput, repair model.Repair) time.Duration {
	s.t.Helper()
	made := s.b.made.Load()
	defer s.b.made.Store(made)
	var took [2]time.Duration
	for i, repair := range []model.Repair{model.Nothing, repair} {
		j := &job{kind: rewrite, repair: repair, inputs: inputs, mdl: s.b.model}
		before := cpu()
		if repair != model.Nothing {
			if err := s.b.train(s.t.Context(), j); err != nil {
				s.t.Fatal(err)
			}
		}
		if err := s.b.merge(s.t.Context(), j); err != nil {
			s.t.Fatal(err)
		}
		took[i] = cpu() - before
		for _, p := range j.outputs {
			p.Release()
		}
	}
	return took[1] - took[0]
}

// rebuild measures a generation with the same rows and a model that was trained on nothing else.
func (s *stream) rebuild() (plans []schemas.PlanPoint) {
	s.t.Helper()
	j := &job{kind: rewrite, repair: model.Everything, inputs: s.inputs()}
	if err := s.b.runRewrite(s.t.Context(), j); err != nil {
		s.t.Fatal(err)
	}
	for _, p := range j.outputs {
		p.Release()
	}
	return j.plans
}

// anew is the CPU of a model that is trained on the live rows alone.
func (s *stream) anew() time.Duration {
	s.t.Helper()
	return s.models(s.inputs(), model.Everything)
}

// inputs are all rows.
func (s *stream) inputs() (all []jobInput) {
	for _, p := range s.b.parts {
		all = append(all, jobInput{p, p.dead.Clone()})
	}
	return all
}

// at is the recall of plans that scan so many codes, between the measured ones.
func at(plans []schemas.PlanPoint, scanned float64) float64 {
	front := slices.Clone(plans)
	slices.SortFunc(front, func(a, b schemas.PlanPoint) int { return cmp.Compare(a.Scanned, b.Scanned) })
	best := schemas.PlanPoint{}
	for _, p := range front {
		if p.Recall <= best.Recall {
			continue
		}
		if p.Scanned > scanned {
			share := (math.Log(scanned) - math.Log(best.Scanned)) / (math.Log(p.Scanned) - math.Log(best.Scanned))
			return best.Recall + share*(p.Recall-best.Recall)
		}
		best = p
	}
	return best.Recall
}

// needed is how many codes must be scanned for a recall, between the measured plans.
func needed(plans []schemas.PlanPoint, recall float64) float64 {
	low, high := 1.0, 1e9
	for range 60 {
		if middle := math.Sqrt(low * high); at(plans, middle) < recall {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// lost is how much less recall queries get by plans than by those of an index built anew, on average over the targets 0.80 to 0.95: at a
// single one it is how far the next plan of either table happens to be above it.
func lost(plans, anew []schemas.PlanPoint) (loss float64) {
	const targets = 16
	for i := range targets {
		target := 0.8 + float64(i)/100
		_, ours, _ := recall.Choose(plans, target)
		_, fresh, _ := recall.Choose(anew, target)
		loss += (fresh.Recall - ours.Recall) / targets
	}
	return loss
}

// longest returns the longest list over the mean one.
func (s *stream) longest() float64 {
	l := s.b.manifest.Lists
	return float64(l.Longest) / l.Mean
}

// Topics come and go while all rows are replaced again and again. Recall for a given number of codes stays as good as that
// of an index built anew, for a fraction of the work.
func TestStreamOfTurningTopics(t *testing.T) {
	rows, turnovers, noise := 4000, 3, 0.04
	if long() {
		rows, turnovers, noise = 16_000, 20, 0.01
	}
	s := newStream(t, 41, rows)
	s.topics = [2]int{0, 200}
	s.send(rows)
	s.work()
	target := s.log.Spec().Defaults.TargetRecall
	var losses, codes []float64
	var anew time.Duration
	for turn := range turnovers {
		for range 4 {
			s.topics[0] += 12 // a quarter of the topics in a turnover
			s.send(rows / 4)
			s.work()
			if !s.b.manifest.Quality.Promoted {
				t.Errorf("turnover %d: held back: %s", turn, s.b.manifest.Quality.Reason)
			}
		}
		plans := s.rebuild()
		if long() {
			anew += 4 * s.anew()
		}
		_, fresh, _ := recall.Choose(plans, target)
		_, ours, _ := recall.Choose(s.b.plans, target)
		losses = append(losses, lost(s.b.plans, plans))
		codes = append(codes, needed(s.b.plans, target)/needed(plans, target))
		t.Logf("turnover %d: recall %.4f with %.0f codes, anew %.4f with %.0f; for %v %.2f of the codes; longest list %.1f of the mean, %d lists",
			turn, ours.Recall, ours.Scanned, fresh.Recall, fresh.Scanned, target, codes[turn], s.longest(), s.b.modelRef.NList)
	}
	t.Logf("%d rewrites, %v; recall lost: mean %.4f, most %.4f; codes: mean %.2f, most %.2f",
		s.rewrites, s.repairs, mean(losses), slices.Max(losses), mean(codes), slices.Max(codes))
	if mean(losses) > noise {
		t.Errorf("recall is %.4f below that of an index built anew", mean(losses))
	}
	most := 2.0 // of few rows little can be said about drift
	if long() {
		most = 1.5
	}
	if mean(codes) > most {
		t.Errorf("queries scan %.2f times the codes of an index built anew", mean(codes))
	}
	if long() {
		share := s.upkeep.Seconds() / anew.Seconds()
		t.Logf("CPU of upkeep %.1f s, of models trained anew each time %.1f s: %.1f %%", s.upkeep.Seconds(), anew.Seconds(), 100*share)
		if s.upkeep <= 0 || anew <= 0 || share > 0.1 {
			t.Errorf("upkeep took %.1f %% of the CPU of training anew each time, allowed: above 0, at most 10", 100*share)
		}
	}
}

func mean(of []float64) (sum float64) {
	for _, x := range of {
		sum += x / float64(len(of))
	}
	return sum
}

// A stream that does not change makes nothing anew.
func TestStreamThatIsTheSame(t *testing.T) {
	rows, turnovers := 4000, 3
	if long() {
		rows, turnovers = 16_000, 20
	}
	s := newStream(t, 42, rows)
	s.topics = [2]int{0, 200}
	s.send(rows)
	s.work()
	for range 4 * turnovers {
		s.send(rows / 4)
		s.work()
	}
	if s.repairs[model.Everything] != 1 || s.repairs[model.Lists]+s.repairs[model.Codes] > 0 {
		t.Errorf("made anew: %v", s.repairs)
	}
}

// Most rows come to few lists, three of ten have the vector of another, and then most are deleted: lists stay even, recall stays,
// nothing fails.
func TestStreamOfHeavySkew(t *testing.T) {
	rows, noise := 1500, 0.05
	if long() {
		rows, noise = 16_000, 0.01
	}
	s := newStream(t, 43, 4*rows)
	s.topics, s.copies = [2]int{0, 200}, 0.3
	s.send(rows)
	s.work()
	compare := func(what string) {
		t.Helper()
		plans := s.rebuild()
		target := s.log.Spec().Defaults.TargetRecall
		_, fresh, _ := recall.Choose(plans, target)
		_, ours, _ := recall.Choose(s.b.plans, target)
		loss := lost(s.b.plans, plans)
		t.Logf("%s: recall %.4f with %.0f codes, anew %.4f with %.0f; lost %.4f over all targets; for %v %.2f of the codes; longest list %.1f of the mean, %d lists, %d rows, %v",
			what, ours.Recall, ours.Scanned, fresh.Recall, fresh.Scanned, loss, target, needed(s.b.plans, target)/needed(plans, target), s.longest(), s.b.modelRef.NList, s.b.ledger.live, s.repairs)
		if loss > noise {
			t.Errorf("%s: recall is %.4f below that of an index built anew", what, loss)
		}
		if !s.b.manifest.Quality.Promoted {
			t.Errorf("%s: held back: %s", what, s.b.manifest.Quality.Reason)
		}
	}
	even := func(what string, most float64) {
		t.Helper()
		if s.longest() > most {
			t.Errorf("%s: the longest list is %.1f times the mean", what, s.longest())
		}
	}
	for range 8 { // four fifths to one topic in a hundred
		s.topics = [2]int{0, 2}
		s.send(rows * 3 / 8 * 4 / 5)
		s.topics = [2]int{0, 200}
		s.send(rows * 3 / 8 / 5)
		s.work()
	}
	even("skew", 4)
	compare("skew")

	var ids []string
	for i := range 4 * rows {
		if i%10 != 0 {
			ids = append(ids, fmt.Sprint("id-", i))
		}
	}
	for some := range slices.Chunk(ids, len(ids)/4) {
		s.remove(some)
		s.work()
	}
	even("deleted", 4)
	compare("deleted")
}
