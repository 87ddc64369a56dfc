package simulation

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/adastream/adastream/schemas"
)

// truth is what the store has ever held, told by the first object of each key. It is what the protocol's invariants are about:
// keys that were freed by a collection and taken again do not count.
type truth struct {
	chains      map[int][]*schemas.Commit
	manifests   []*schemas.Manifest // generation 1 first
	promotions  []*schemas.Channel  // sequence 1 first
	collections []*schemas.Collection

	commits map[string]*schemas.Commit // by key
	lines   map[string][]string        // what each data object says, by key
	fates   map[string]fate            // of each line that a commit of a chain names

	objects map[string]bool // data objects that are there
	records map[string]bool // manifests and commits that are there
}

// fate is where a line is in the log.
type fate struct {
	partition int
	end       int64
}

func newTruth() *truth {
	return &truth{chains: map[int][]*schemas.Commit{}, commits: map[string]*schemas.Commit{}, lines: map[string][]string{},
		fates: map[string]fate{}, objects: map[string]bool{}, records: map[string]bool{}}
}

func (t *truth) head(partition int) int64 {
	if chain := t.chains[partition]; len(chain) > 0 {
		return chain[len(chain)-1].End
	}
	return 0
}

func (t *truth) collection() *schemas.Collection {
	if n := len(t.collections); n > 0 {
		return t.collections[n-1]
	}
	return nil
}

// keeps reports whether no collection has given the generation up. One that was, and is served all the same, may be kept again
// by the next collection, but nobody can rely on it.
func (t *truth) keeps(generation int64) bool {
	return !slices.ContainsFunc(t.collections, func(c *schemas.Collection) bool { return !c.Keeps(generation) })
}

// keepsNow reports whether the newest collection has not given the generation up.
func (t *truth) keepsNow(generation int64) bool {
	c := t.collection()
	return c == nil || c.Keeps(generation)
}

// checkpoint is that of the newest generation.
func (t *truth) checkpoint(partition int) int64 {
	if n := len(t.manifests); n > 0 {
		return t.manifests[n-1].Checkpoint[strconv.Itoa(partition)]
	}
	return 0
}

// created checks an object that has just appeared.
func (t *truth) created(w *world, key string, body []byte) error {
	folder, _, _ := strings.Cut(key, "/")
	switch folder {
	case "index.json":
		return nil
	case "commits":
		t.records[key] = true
		if t.commits[key] != nil {
			return nil // by a writer that slept, on a key that was freed
		}
		c, err := schemas.ParseCommit(body)
		if err != nil {
			return err
		}
		return t.committed(w, key, c)
	case "manifests":
		t.records[key] = true
		m, err := schemas.ParseManifest(body)
		if err != nil {
			return err
		}
		if m.Generation <= int64(len(t.manifests)) {
			return nil
		}
		return t.published(w, m)
	case "channels":
		c, err := schemas.ParseChannel(body)
		if err != nil {
			return err
		}
		if c.Sequence <= int64(len(t.promotions)) {
			return nil
		}
		return t.promoted(c)
	case "collections":
		c, err := schemas.ParseCollection(body)
		if err != nil {
			return err
		}
		if c.Number != int64(len(t.collections))+1 {
			return fmt.Errorf("collection %d is not the one after %d", c.Number, len(t.collections))
		}
		t.collections = append(t.collections, c)
		return nil
	default:
		if _, ok := t.lines[key]; ok {
			return errors.New("the name of a data object was used before")
		}
		t.lines[key] = strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
		t.objects[key] = true
		return nil
	}
}

// committed: the chain is a line, watermarks do not fall, and what is named is there.
func (t *truth) committed(w *world, key string, c *schemas.Commit) error {
	if head := t.head(c.Partition); c.Start != head {
		return fmt.Errorf("commit [%d, %d) is not at the head %d", c.Start, c.End, head)
	}
	if chain := t.chains[c.Partition]; len(chain) > 0 && c.Watermark < chain[len(chain)-1].Watermark {
		return fmt.Errorf("watermark %d after %d", c.Watermark, chain[len(chain)-1].Watermark)
	}
	t.commits[key] = c
	t.chains[c.Partition] = append(t.chains[c.Partition], c)
	for o := range c.Objects() {
		if err := w.intact(o); err != nil {
			return err
		}
		if c.Quarantine != nil && o == *c.Quarantine {
			continue // no generation names it
		}
		for _, line := range t.lines[o.Key] {
			t.fates[line] = fate{c.Partition, c.End}
		}
	}
	return nil
}

// published: the manifests are a line, and each is exactly the log up to its checkpoint.
func (t *truth) published(w *world, m *schemas.Manifest) error {
	if m.Generation != int64(len(t.manifests))+1 {
		return fmt.Errorf("generation %d is not the one after %d", m.Generation, len(t.manifests))
	}
	for p := range t.chains {
		if next := m.Checkpoint[strconv.Itoa(p)]; next < t.checkpoint(p) {
			return fmt.Errorf("checkpoint of partition %d falls from %d to %d", p, t.checkpoint(p), next)
		}
	}
	if err := w.unfold(m); err != nil {
		return err
	}
	var lines []string
	for o := range m.Objects() {
		if err := w.intact(o); err != nil {
			return err
		}
		if !isPage(o.Key) {
			lines = append(lines, t.lines[o.Key]...)
		}
	}
	t.manifests = append(t.manifests, m)
	return t.isLog(m.Checkpoint, lines)
}

// unfold adds the segments that are in pages to those of the record.
func (w *world) unfold(m *schemas.Manifest) error {
	var segments []schemas.Segment
	for _, ref := range m.Pages {
		if err := w.intact(ref.Object); err != nil {
			return err
		}
		p, err := schemas.ParsePage(w.objects[ref.Key].body)
		if err != nil {
			return err
		}
		segments = append(segments, p.Segments...)
	}
	m.Segments = append(segments, m.Segments...)
	return nil
}

func isPage(key string) bool { return strings.HasPrefix(key, "pages/") }

// isLog says how lines differ from what the chains say up to a checkpoint.
func (t *truth) isLog(checkpoint map[string]int64, lines []string) error {
	want := 0
	for p, chain := range t.chains {
		for _, c := range chain {
			if c.End > checkpoint[strconv.Itoa(p)] {
				break
			}
			if c.Segment != nil {
				want++
			}
			if c.Tombstones != nil {
				want++
			}
		}
	}
	seen := make(map[string]bool, len(lines))
	for _, line := range lines {
		if strings.HasPrefix(line, bitmap) {
			continue
		}
		at, ok := t.fates[line]
		switch {
		case !ok:
			return fmt.Errorf("%q was committed by nobody", line)
		case at.end > checkpoint[strconv.Itoa(at.partition)]:
			return fmt.Errorf("%q is beyond the checkpoint %v", line, checkpoint)
		case seen[line]:
			return fmt.Errorf("%q is there twice", line)
		}
		seen[line] = true
	}
	if len(seen) != want {
		return fmt.Errorf("%d of the %d ranges up to the checkpoint %v are there", len(seen), want, checkpoint)
	}
	return nil
}

// promoted: the promotions are a line, and builders respect a pin.
func (t *truth) promoted(c *schemas.Channel) error {
	n := len(t.promotions)
	if c.Sequence != int64(n)+1 {
		return fmt.Errorf("promotion %d is not the one after %d", c.Sequence, n)
	}
	if c.Generation > int64(len(t.manifests)) {
		return fmt.Errorf("promotion of generation %d, which there is not", c.Generation)
	}
	if n > 0 && !c.ByOperator() {
		last := t.promotions[n-1]
		takenBack := !t.keeps(last.Generation) // by whoever made that one: it had been collected, and says again what was before
		if last.Pinned && !c.Pinned && !takenBack {
			return fmt.Errorf("builder %s promotes generation %d over a pin of %d", c.By, c.Generation, last.Generation)
		}
	}
	t.promotions = append(t.promotions, c)
	return nil
}

// removed checks that nobody needs what has just been deleted.
func (t *truth) removed(key string) error {
	folder, _, _ := strings.Cut(key, "/")
	switch folder {
	case "index.json", "collections":
		return errors.New("it must stay")
	case "channels":
		n := t.promotions[len(t.promotions)-1]
		if strings.HasSuffix(key, fmt.Sprintf("/%020d", n.Sequence)) {
			return errors.New("it is the newest promotion")
		}
		return nil
	case "commits":
		delete(t.records, key)
		if c := t.commits[key]; c.Start >= t.checkpoint(c.Partition) {
			return fmt.Errorf("it is not folded: the checkpoint is %d", t.checkpoint(c.Partition))
		} else if c.Gap || c.Quarantine != nil {
			return errors.New("it tells of lost or refused messages")
		}
		return nil
	case "manifests":
		delete(t.records, key)
	default:
		delete(t.objects, key)
	}
	return t.needed(key, t.keeps)
}

// needed says who still names an object, or that a generation is kept.
func (t *truth) needed(key string, keeps func(int64) bool) error {
	for _, m := range t.manifests {
		if !keeps(m.Generation) {
			continue
		}
		if strings.HasPrefix(key, "manifests/") && strings.HasSuffix(key, fmt.Sprintf("/%020d", m.Generation)) {
			return errors.New("the generation is kept")
		}
		for o := range m.Objects() {
			if o.Key == key {
				return fmt.Errorf("generation %d is kept and names it", m.Generation)
			}
		}
	}
	for p, chain := range t.chains {
		for _, c := range chain {
			for o := range c.Objects() {
				if o.Key == key && (c.Start >= t.checkpoint(p) || c.Quarantine != nil && *c.Quarantine == o) {
					return fmt.Errorf("commit [%d, %d) of partition %d names it", c.Start, c.End, p)
				}
			}
		}
	}
	return nil
}

// intact checks that an object is there as it was named.
func (w *world) intact(o schemas.Object) error {
	there, ok := w.objects[o.Key]
	if !ok {
		return fmt.Errorf("it names %s, which is not there", o.Key)
	}
	return checkBody(o, there.body)
}
