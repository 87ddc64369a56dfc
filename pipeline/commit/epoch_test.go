package commit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// openEpoch makes an epoch of the index in b, as its own daemons do: they know its place and nothing of the root.
func openEpoch(t *testing.T, b store.Bucket, name string) *Log {
	t.Helper()
	spec := testSpec()
	spec.Encoder, spec.Ladder = name, []int{64, 128}
	place := store.Under(b, "epochs/"+name)
	if err := Create(t.Context(), place, spec); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func toEpoch(name string) schemas.Channel {
	return schemas.Channel{Epoch: name, Reason: "new encoder", By: "mara@ops"}
}

// follow reads on until nothing is new, and returns what it saw.
func follow(t *testing.T, l *Log, at *Served) (*Served, []string) {
	t.Helper()
	var seen []string
	for {
		to, err := l.Follow(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if to == nil {
			return at, seen
		}
		at, seen = to, append(seen, fmt.Sprintf("%s by %s", to, to.Index.Spec().Encoder))
	}
}

// The channel goes from the root's generations to an epoch, whose own channel is followed then, and back with one record;
// meanwhile what the other one publishes is not seen.
func TestFollowingEpochs(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			root, epoch := openLog(t, b), openEpoch(t, b, "mini-3")
			mustPublish(t, root, 3)
			mustPublish(t, epoch, 5)
			var at *Served
			step := func(want ...string) {
				t.Helper()
				var got []string
				if at, got = follow(t, openLog(t, b), at); !slices.Equal(got, want) {
					t.Errorf("followed %q, want %q", got, want)
				}
			}
			step()
			rootAt := mustPromote(t, root, nil, 1)
			step("generation 1 by mini <2>")
			if c, err := root.Promote(t.Context(), rootAt, toEpoch("mini-3")); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("promotion of an epoch without a promoted generation: %+v, %v", c, err)
			}
			epochAt := mustPromote(t, epoch, nil, 4)
			step()
			var c *schemas.Channel
			for range 2 { // again, as after a lost answer
				var err error
				c, err = root.Promote(t.Context(), rootAt, toEpoch("mini-3"))
				if err != nil || c.Sequence != 2 || c.Epoch != "mini-3" || c.Generation != 0 {
					t.Fatalf("promotion of an epoch: %+v, %v", c, err)
				}
			}
			if c, err := root.Promote(t.Context(), rootAt, built(2)); !errors.Is(err, schemas.ErrFenced) {
				t.Errorf("promotion by a builder that has not seen the epoch: %+v, %v, want ErrFenced", c, err)
			}
			step("generation 4 of epoch mini-3 by mini-3")
			epochAt = mustPromote(t, epoch, epochAt, 5)
			step("generation 5 of epoch mini-3 by mini-3")
			if _, again := follow(t, openLog(t, b), nil); !slices.Equal(again, []string{"generation 5 of epoch mini-3 by mini-3"}) {
				t.Errorf("a node that starts follows %q", again)
			}
			mustPromote(t, root, c, 1)
			step("generation 1 by mini <2>")
			mustPromote(t, epoch, epochAt, 4)
			step()
		})
	}
}

func TestEpochsThatCannotBeFollowed(t *testing.T) {
	b := store.NewMemory()
	root, outer := openLog(t, b), openEpoch(t, b, "outer")
	mustPublish(t, root, 1)
	mustPublish(t, outer, 1)
	inner := openEpoch(t, outer.Bucket(), "inner")
	mustPublish(t, inner, 1)
	mustPromote(t, inner, nil, 1)
	if _, err := outer.Promote(t.Context(), nil, toEpoch("inner")); err != nil { // in its own right it is an index like any
		t.Fatal(err)
	}
	mustPutRaw(t, b, "epochs/broken/"+specKey, []byte(`{"format":1}`))
	for name, want := range map[string]struct {
		class error
		text  string
	}{
		"nobody":  {store.ErrNotFound, "epoch nobody"},
		"../up":   {nil, "allowed: 1 to 128 letters"},
		"outer":   {nil, "epoch outer: its channel names epoch inner"},
		"broken":  {schemas.ErrCorrupt, "epoch broken"},
		"a/b":     {nil, "allowed: 1 to 128 letters"},
		"mini-33": {store.ErrNotFound, "epochs/mini-33"},
	} {
		c, err := root.Promote(t.Context(), nil, toEpoch(name))
		if err == nil || want.class != nil && !errors.Is(err, want.class) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("promotion of epoch %q: %+v, %v, want %q of class %v", name, c, err, want.text, want.class)
		}
	}
	pinned := toEpoch("outer")
	pinned.Pinned = true
	if c, err := root.Promote(t.Context(), nil, pinned); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("promotion of a pinned epoch: %+v, %v", c, err)
	}
}

// What an epoch holds is invisible to the index that it lies in: chains, generations and channel are read as if it were not
// there, and the other way round.
func TestEpochsAreInvisible(t *testing.T) {
	b := store.NewMemory()
	root, epoch := openLog(t, b), openEpoch(t, b, "mini-3")
	mustAppend(t, epoch, plain(0, 5, 1))
	mustPublish(t, epoch, 7)
	mustPromote(t, epoch, nil, 6)
	mustAppend(t, root, plain(0, 50, 1))
	mustPublish(t, root, 2)
	mustPromote(t, root, nil, 1)
	for _, c := range []struct {
		l                           *Log
		next, generations, followed int64
	}{{openLog(t, b), 50, 2, 1}, {openEpoch(t, b, "mini-3"), 5, 7, 6}} {
		head, err := c.l.Head(t.Context(), 0, 0)
		if err != nil || head.Next != c.next {
			t.Errorf("%s: head %+v, %v, want %d", c.l.Bucket(), head, err, c.next)
		}
		n := int64(0)
		for _, err := range c.l.Manifests(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		now, err := c.l.Channel(t.Context(), 0)
		if err != nil || n != c.generations || now.Generation != c.followed {
			t.Errorf("%s: %d generations, channel %+v, %v; want %d and %d", c.l.Bucket(), n, now, err, c.generations, c.followed)
		}
	}
}
