package commit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// actor is an operator or a builder that acts on a channel, over and over.
type actor struct {
	by      string
	bucket  store.Bucket
	rng     *rand.Rand
	actions int

	acknowledged []schemas.Channel
	fenced       int
}

func (a *actor) run(ctx context.Context) error {
	l, err := Open(ctx, a.bucket)
	if err != nil {
		return err
	}
	var seen *schemas.Channel
	for n := 0; n < a.actions; {
		if a.rng.IntN(4) > 0 || n == 0 { // else it sleeps on what it has seen before
			if seen, err = a.look(ctx, l); err != nil {
				return err
			}
		}
		c, act := a.decide(seen, n)
		if !act {
			n++
			continue
		}
		var made *schemas.Channel
		err := again(func() (err error) { made, err = l.Promote(ctx, seen, c); return err })
		if errors.Is(err, schemas.ErrFenced) {
			a.fenced++
			continue
		}
		if err != nil {
			return err
		}
		a.acknowledged = append(a.acknowledged, *made)
		seen = made
		n++
	}
	return nil
}

func (a *actor) look(ctx context.Context, l *Log) (c *schemas.Channel, err error) {
	err = again(func() (err error) { c, err = l.Channel(ctx, 0); return err })
	return c, err
}

// decide keeps the rule: a builder promotes the next generation unless a pin holds it off, an operator pins or lets go.
func (a *actor) decide(seen *schemas.Channel, n int) (schemas.Channel, bool) {
	c := schemas.Channel{By: a.by, Reason: fmt.Sprintf("%s-%d after 0", a.by, n)}
	generation := int64(0)
	if seen != nil {
		c.Reason = fmt.Sprintf("%s-%d after %d", a.by, n, seen.Sequence)
		generation = seen.Generation
	}
	if !c.ByOperator() {
		c.Generation = generation + 1
		return c, c.Generation <= 20 && !(seen != nil && seen.Pinned)
	}
	c.Generation = 1 + a.rng.Int64N(20)
	c.Pinned = a.rng.IntN(2) == 0
	return c, true
}

// TestRacingPromoters: whatever two operators and two builders do at once, with lost answers and listings that lag, each
// promotion follows the one that it was decided on. So a pin holds until an operator lets go, and nobody undoes
// what he has not seen.
func TestRacingPromoters(t *testing.T) {
	fenced, lost, held := 0, 0, 0
	for round := range uint64(8) {
		b := store.NewMemory()
		mustPublish(t, openLog(t, b), 20)
		net := newFaulty(b, round)
		actors := make([]*actor, 4)
		var running sync.WaitGroup
		for i := range actors {
			actors[i] = &actor{by: []string{"mara@ops", "tom@ops", "builder-1", "builder-2"}[i], bucket: net, rng: rand.New(rand.NewPCG(round, uint64(i))), actions: 25}
			running.Go(func() {
				if err := actors[i].run(t.Context()); err != nil {
					t.Errorf("%s: %v", actors[i].by, err)
				}
			})
		}
		running.Wait()
		line := promotions(t, openLog(t, b))
		for i, c := range line {
			if want := fmt.Sprintf("after %d", i); c.Reason[len(c.Reason)-len(want):] != want {
				t.Errorf("round %d: promotion %d was decided %s", round, c.Sequence, c.Reason)
			}
			if i > 0 && line[i-1].Pinned {
				held++
				if !c.ByOperator() {
					t.Errorf("round %d: %s has undone the pin of %s", round, c.By, line[i-1].By)
				}
			}
		}
		for _, a := range actors {
			fenced += a.fenced
			for _, c := range a.acknowledged {
				if line[c.Sequence-1].Reason != c.Reason {
					t.Errorf("round %d: promotion %q was acknowledged, %d is %q", round, c.Reason, c.Sequence, line[c.Sequence-1].Reason)
				}
			}
		}
		lost += net.seen["lost"]
	}
	if fenced == 0 || lost == 0 || held == 0 {
		t.Errorf("%d fenced, %d lost answers, %d promotions after a pin: nothing was tested", fenced, lost, held)
	}
}

// promotions reads the whole channel.
func promotions(t *testing.T, l *Log) (line []schemas.Channel) {
	t.Helper()
	for sequence := int64(1); ; sequence++ {
		c, err := l.Promotion(t.Context(), sequence)
		if errors.Is(err, store.ErrNotFound) {
			return line
		}
		if err != nil {
			t.Fatal(err)
		}
		line = append(line, *c)
	}
}
