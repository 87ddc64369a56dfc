package simulation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// actor is what the roles have in common: it lives again and again until the schedule is over.
type actor struct {
	name  string
	id    int
	world *world
	rng   *rand.Rand
	clock time.Duration // by how much its clock is wrong
	made  int           // names that it has given

	handicap func(*port) // what is broken about it, nil for nothing

	*process
	store *port
	log   *commit.Log
}

func (w *world) actor(name string, id int, seed uint64) *actor {
	rng := rand.New(rand.NewPCG(seed, uint64(id)+2))
	return &actor{name: name, id: id, world: w, rng: rng, clock: time.Duration(rng.IntN(96)-48) * time.Hour}
}

// live runs lives of a role until one ends by itself.
func (a *actor) live(life func(context.Context) error) {
	for ctx := context.Background(); ; {
		err := a.begin(ctx)
		if err == nil {
			err = life(ctx)
		}
		a.world.mu.Lock()
		over := a.world.over || a.world.failure != ""
		a.world.mu.Unlock()
		switch {
		case over || err == nil:
			return
		case !errors.Is(err, errCrashed):
			a.world.fail("%s stops: %v", a.name, err)
			return
		}
	}
}

// begin is a new process with nothing in its memory.
func (a *actor) begin(ctx context.Context) error {
	a.process = &process{name: a.name, actor: a.id, world: a.world}
	a.store = &port{process: a.process}
	if a.handicap != nil {
		a.handicap(a.store)
	}
	return again(func() (err error) {
		if a.log, err = commit.Open(ctx, a.store); err == nil {
			a.log = a.log.WithPages(a.world.pageParts)
		}
		return err
	})
}

// unique is a name that nothing else has.
func (a *actor) unique() string {
	a.made++
	return fmt.Sprintf("%s.%d", a.name, a.made)
}

// rarely is true once in n times.
func (a *actor) rarely(n int) bool { return a.rng.IntN(n) == 0 }

// again repeats what may go well another time.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, schemas.ErrTransient) {
			return err
		}
	}
}

func object(key string, body []byte) schemas.Object {
	sum := sha256.Sum256(body)
	return schemas.Object{Key: key, Size: int64(len(body)), SHA256: hex.EncodeToString(sum[:])}
}

func checkBody(o schemas.Object, body []byte) error {
	if got := object(o.Key, body); got != o {
		return fmt.Errorf("%s is %+v, not %+v", o.Key, got, o)
	}
	return nil
}

// ingestor believes that it owns a partition.
type ingestor struct {
	*actor
	partition int
	end       int64 // of the log
}

func (i *ingestor) life(ctx context.Context) error {
	for {
		done, err := i.session(ctx)
		if done || err != nil && !errors.Is(err, schemas.ErrFenced) {
			return err
		}
	}
}

// session copies the log from the end of the chain on, until somebody else was faster.
func (i *ingestor) session(ctx context.Context) (done bool, err error) {
	var head commit.Head
	if err := again(func() (err error) {
		head, err = i.log.Head(ctx, i.partition, 0)
		return err
	}); err != nil {
		return false, err
	}
	for head.Next < i.end {
		c, err := i.cut(ctx, head)
		if err != nil {
			return false, err
		}
		own := c.End
		err = again(func() error { return i.log.Append(ctx, c) })
		var conflict *commit.Conflict
		switch {
		case errors.As(err, &conflict) && i.world.broken == writerKeepsItsEnd:
			head = commit.Head{Next: own, Watermark: conflict.Theirs.Watermark}
			continue
		case errors.As(err, &conflict) && i.rarely(2):
			c = conflict.Theirs
		case err != nil:
			return false, err
		default:
			i.acknowledged(c)
		}
		head = commit.Head{Next: c.End, Watermark: c.Watermark}
	}
	return true, nil
}

// acknowledged: what Append said is there is there.
func (i *ingestor) acknowledged(c *schemas.Commit) {
	w := i.world
	if there := w.truth.commits[fmt.Sprintf("commits/%06d/%020d", c.Partition, c.Start)]; there == nil || there.Writer != c.Writer {
		w.fail("%s was told that its commit [%d, %d) is there, and the chain has %+v", i.name, c.Start, c.End, there)
	}
}

// cut stores the next stretch of the log. Each object says which offsets became what, and by whom.
func (i *ingestor) cut(ctx context.Context, head commit.Head) (*schemas.Commit, error) {
	id := i.unique()
	end := min(i.end, head.Next+1+i.rng.Int64N(4))
	produced := 1000 + end - i.rng.Int64N(20) // by producers whose clocks differ
	c := &schemas.Commit{
		Format: schemas.CommitFormat, Partition: i.partition, Start: head.Next, End: end, Writer: id,
		Produced: produced, Watermark: max(head.Watermark, produced), Created: i.now(),
	}
	if i.rarely(12) {
		c.Gap = true
		return c, nil
	}
	put := func(what string, method func(context.Context, int, int64, []byte) (schemas.Object, error), into **schemas.Object) error {
		return again(func() error {
			o, err := method(ctx, i.partition, c.Start, fmt.Appendf(nil, "%s %d [%d, %d) by %s\n", what, i.partition, c.Start, c.End, id))
			*into = &o
			return err
		})
	}
	deletes, quarantines := i.rarely(5), i.rarely(8)
	if !deletes && !quarantines || i.rarely(2) {
		c.Rows = int(end - head.Next)
		if err := put("upserts", i.log.PutSegment, &c.Segment); err != nil {
			return nil, err
		}
	}
	if deletes {
		c.Deletes = 1
		if err := put("deletes", i.log.PutTombstones, &c.Tombstones); err != nil {
			return nil, err
		}
	}
	if quarantines {
		c.Quarantined = map[string]int{"decode": 1}
		if err := put("refused", i.log.PutQuarantine, &c.Quarantine); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// now is what the clock of the actor says.
func (a *actor) now() time.Time { return time.Now().Add(a.clock).UTC() }

// fetch reads an object and checks that it is what was named.
func (a *actor) fetch(ctx context.Context, o schemas.Object) ([]byte, error) {
	body, err := a.log.Bucket().Get(ctx, o.Key)
	if err != nil {
		return nil, err
	}
	if err := checkBody(o, body); err != nil {
		return nil, fmt.Errorf("%w: %w", schemas.ErrCorrupt, err)
	}
	return body, nil
}
