package build

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

func TestDecide(t *testing.T) {
	was := &schemas.Fit{Rows: 1000, Coarse: []float64{0.3, 0.5}, Codes: []float64{0.1, 0.2}}
	for _, tt := range []struct {
		name          string
		rows          int
		coarse, codes float64
		strange       float64
		balance, then float64
		longest       int // of a mean of 10
		want          model.Repair
		reason        string
	}{
		{"all is as it was", 1000, 0.5, 0.2, 0.01, 1.2, 1.2, 20, model.Nothing, "new rows fit"},
		{"too few rows", freshFew - 1, 0.9, 0.9, 0.9, 9, 1, 20, model.Nothing, "too few"},
		{"residuals are longer", 1000, 0.56, 0.224, 0.1, 1.2, 1.2, 20, model.Lists, "centroids leave 0.56 of new rows, 0.50 of those"},
		{"a little longer", 1000, 0.54, 0.216, 0.1, 1.2, 1.2, 20, model.Nothing, "new rows fit"},
		{"residuals are of another shape", 1000, 0.5, 0.23, 0.01, 1.2, 1.2, 20, model.Codes, "codes leave 0.230"},
		{"uneven", 1000, 0.5, 0.2, 0.01, 2.4, 1.2, 20, model.Lists, "2.40 times as dear"},
		{"uneven from the beginning", 1000, 0.5, 0.2, 0.01, 2.4, 2.3, 20, model.Nothing, ""},
		{"nothing to compare lists with", 1000, 0.5, 0.2, 0.01, 2.4, 0, 20, model.Nothing, ""},
		{"a long list, and uneven", 1000, 0.5, 0.2, 0.01, 1.5, 1.2, 31, model.Lists, "the longest is 3.1 times the mean"},
		{"a list is long, all are about as even", 1000, 0.5, 0.2, 0.01, 1.4, 1.2, 90, model.Nothing, ""},
		{"another encoder's", 1000, 0.9, 0.8, 0.98, 1.2, 1.2, 20, model.Nothing, "strangeness 0.98"},
		{"another encoder's, by somebody's will", 1000, 0.9, 0.8, 0.98, 1.2, 1.2, 20, model.Lists, "centroids leave"},
	} {
		d := &schemas.Drift{Strange: tt.strange, Fit: schemas.Fit{Rows: tt.rows, Coarse: []float64{0, tt.coarse}, Codes: []float64{0, tt.codes}}}
		lists := &schemas.ListStats{Mean: 10, Longest: tt.longest, Balance: tt.balance}
		got, reason := decide(was, d, lists, tt.then, strings.Contains(tt.name, "somebody's will"))
		if got != tt.want || !strings.Contains(reason, tt.reason) || reason == "" {
			t.Errorf("%s: %s, %q", tt.name, got, reason)
		}
	}
}

// run folds, shows, and starts and lands jobs, until none is due. It returns what was made anew in each.
func (w *world) run(b *Builder) (repairs []model.Repair) {
	w.t.Helper()
	w.each(b, func(j *job) { repairs = append(repairs, j.repair) })
	return repairs
}

// each does what run does, and calls done for each job but compactions, before it lands.
func (w *world) each(b *Builder, done func(j *job)) {
	w.t.Helper()
	for {
		if _, err := b.fold(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.show(b)
		b.startJobs(w.t.Context())
		if len(b.jobs) == 0 {
			return
		}
		j := <-b.done
		if j.kind != compaction {
			done(j)
		}
		if err := b.land(w.t.Context(), j); err != nil {
			w.t.Fatal(err)
		}
	}
}

// trained is a builder with a model of 4000 rows, whose lists no growth will call into question.
func (w *world) trained(ids int) *Builder {
	w.t.Helper()
	for p := range testPartitions {
		w.ingest(p, 3000, ids, nil)
	}
	b := w.idle(256)
	b.o.RewriteRows = 1000
	if got := w.run(b); len(got) != 1 || got[0] != model.Everything {
		w.t.Fatalf("trained by %v", got)
	}
	return b
}

// Rows as before call for nothing, however many come; rows around new topics call for new lists, and once the lists are
// theirs for nothing again.
func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	const ids = 4000
	w := newWorld(t, 21)
	b := w.trained(ids)
	first := b.modelRef
	for turn := range 12 {
		w.ingest(turn%testPartitions, 1500, ids, b.model)
		for _, repair := range w.run(b) {
			if repair != model.Nothing {
				t.Fatalf("%s of a stream that does not change: %s", repair, b.drift.Reason)
			}
		}
	}
	if b.modelRef != first || b.drift == nil || b.drift.Repair != "none" {
		t.Fatalf("model %+v, drift %+v", b.modelRef, b.drift)
	}

	w.topics = [2]int{20, 40} // half of them are new
	var repairs []model.Repair
	for turn := range 12 {
		w.ingest(turn%testPartitions, 1500, ids, b.model)
		repairs = append(repairs, w.run(b)...)
	}
	lists := 0
	for _, r := range repairs {
		if r == model.Lists {
			lists++
		}
		if r == model.Everything {
			t.Errorf("a full training was not needed: %v", repairs)
		}
	}
	if lists == 0 || lists > 3 || b.modelRef.Repair != "lists" && b.modelRef.Repair != "codes" {
		t.Errorf("repairs %v, model %+v", repairs, b.modelRef)
	}
	if got := testutil.ToFloat64(b.metrics.repairs.WithLabelValues("lists")); got != float64(lists) {
		t.Errorf("%v repairs of lists are counted, want %d", got, lists)
	}
	if got := testutil.ToFloat64(b.metrics.drift.WithLabelValues("coarse", "32")); got < 0.5 || got > 1.5 {
		t.Errorf("drift of %v is shown", got)
	}
	m := w.settled()
	if m.Drift == nil || m.Model.Fit == nil || m.Quality == nil || !m.Quality.Promoted {
		t.Errorf("manifest has drift %+v, model %+v, quality %+v", m.Drift, m.Model, m.Quality)
	}
	w.check(m)
}

// The vectors of another encoder have the width of ours and come with our name. No generation with them is served, no
// model learns from them, and a builder that begins anew knows.
func TestStrangeVectorsAreNotServed(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*world{"native": newWorld(t, 22), "rotated": newTurnedWorld(t, 22, schemas.PrefixRotate)} {
		t.Run(name, w.strangeVectorsAreNotServed)
	}
}

func (w *world) strangeVectorsAreNotServed(t *testing.T) {
	w.t = t
	const ids = 4000
	b := w.trained(ids)
	var log bytes.Buffer
	b.cleaning.Wait() // it logs
	b.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	told := func() int {
		b.cleaning.Wait()
		return strings.Count(log.String(), "quality gate holds the generation back")
	}
	good := b.channel.Generation
	w.topics = [2]int{500, 40}
	for p := range testPartitions {
		w.ingest(p, 1200, ids, b.model)
		if got := w.run(b); len(got) > 0 && got[0] != model.Nothing {
			t.Errorf("%v made anew from strange rows", got)
		}
	}
	if b.channel.Generation != good || testutil.ToFloat64(b.metrics.held) != 1 {
		t.Fatalf("generation %d is served, want %d", b.channel.Generation, good)
	}
	m := w.settled()
	if m.Quality == nil || m.Quality.Promoted || !strings.Contains(m.Quality.Reason, "another encoder") || m.Newest.Strange < strangeFrom {
		t.Errorf("quality %+v, newest %+v", m.Quality, m.Newest)
	}
	if told() != 1 {
		t.Errorf("the log tells %d times that it is held back", told())
	}
	b.drop()
	if err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if told() != 2 {
		t.Errorf("after a restart the log has told %d times", told())
	}
	if got := w.run(b); len(got) > 0 || b.channel.Generation != good {
		t.Errorf("after a restart %v were made anew, and generation %d is served", got, b.channel.Generation)
	}

	w.topics = [2]int{0, 40} // the producer is mended
	for p := range testPartitions {
		w.ingest(p, 3000, ids, b.model)
		w.run(b)
	}
	if b.channel.Generation == good || testutil.ToFloat64(b.metrics.held) != 0 {
		t.Errorf("generation %d is still served: newest %+v, quality %+v", b.channel.Generation, b.newest, b.quality)
	}
	if !strings.Contains(log.String(), "like those of the model again") {
		t.Error("the log does not tell that the hold is lifted")
	}
	w.check(w.settled())
}

// A generation that is held back is mended by the cheapest repair that helps.
func TestRepairsOfWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	const ids = 4000
	w := newWorld(t, 23)
	b := w.trained(ids)
	before := b.manifest
	bad := *b.quality
	bad.Promoted, bad.Reason = false, "test"

	b.quality = &bad
	if got := w.run(b); len(got) != 1 || got[0] != model.Codes {
		t.Fatalf("made anew: %v, want codes", got)
	}
	if !b.quality.Promoted || b.modelRef.Repair != "codes" || b.modelRef.NList != before.Model.NList || b.modelRef.ID == before.Model.ID {
		t.Errorf("model %+v after %+v, quality %+v", b.modelRef, before.Model, b.quality)
	}
	for i, c := range b.manifest.Chunks {
		was := before.Chunks[i]
		if c.Rows != was.Rows || c.Vectors != was.Vectors || c.Codes == was.Codes {
			t.Errorf("chunk %d: rows changed: %v, codes: %v", i, c.Rows != was.Rows, c.Codes != was.Codes)
		}
	}
	w.check(w.settled())

	for _, tt := range []struct{ tried, want model.Repair }{{model.Codes, model.Lists}, {model.Lists, model.Everything}} {
		b.quality, b.tried = &bad, tt.tried
		if got := w.run(b); len(got) != 1 || got[0] != tt.want {
			t.Errorf("after %s: %v, want %s", tt.tried, got, tt.want)
		}
		w.check(w.settled())
	}
	b.quality, b.tried = &bad, model.Everything
	if got := w.run(b); len(got) != 0 {
		t.Errorf("after everything: %v, want to wait for other rows", got)
	}
}

// An operator who promotes a generation with strange rows says that they are right: they are served, and the model learns.
func TestStrangeVectorsAreAccepted(t *testing.T) {
	t.Parallel()
	const ids = 4000
	w := newWorld(t, 24)
	b := w.trained(ids)
	w.topics = [2]int{500, 40}
	w.ingest(0, 1200, ids, b.model)
	w.run(b)
	if !b.strange() {
		t.Fatalf("newest rows are %+v", b.newest)
	}
	held := b.manifest.Generation
	if _, err := w.log.Promote(t.Context(), b.channel, schemas.Channel{Generation: held, Reason: "new encoder", By: "mara"}); err != nil {
		t.Fatal(err)
	}
	var repairs []model.Repair
	for p := range testPartitions {
		w.ingest(p, 1500, ids, b.model)
		repairs = append(repairs, w.run(b)...)
	}
	if b.strange() || b.channel.Generation <= held || testutil.ToFloat64(b.metrics.held) != 0 {
		t.Errorf("generation %d is served after %d was promoted by hand, newest rows are %+v", b.channel.Generation, held, b.newest)
	}
	if len(repairs) == 0 || repairs[0] != model.Lists {
		t.Errorf("made anew: %v, want lists", repairs)
	}
	w.check(w.settled())
}
