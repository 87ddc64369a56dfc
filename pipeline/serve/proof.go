package serve

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/schemas"
)

// proofShare is the share of its time that reading through takes, of one thread: a gigabyte in some three seconds, beside queries.
const proofShare = 0.25

// What is served for long is read through again, a part at a time so that all have had their turn after rereadEvery, and one of them after
// rereadPause at the latest: a node may get many more parts meanwhile. The share leaves one with terabytes enough time.
const (
	rereadEvery = 24 * time.Hour
	rereadPause = time.Hour
	rereadShare = 0.05
)

// rememberEvery is the least time between two records of what this process has read through, see [store.Cache.Remember]: what a killed
// process has fetched since the last one is read through at the next start.
const rememberEvery = time.Minute

// proof has the parts that an earlier process of this machine had read through, and this one has not: a node answers from them at
// once, and reads them through beside that. Then it reads all parts through again, in turn.
type proof struct {
	wake chan struct{} // there are parts to be read through

	mu      sync.Mutex
	served  map[string]*replica.Part // that answers come from
	todo    []heldPart               // of those, held, as those that are damaged are
	damaged []heldPart
	reading bool                        // one that next took
	read    map[*replica.Part]time.Time // of those that are served: when they were read through last, or came
}

func newProof() *proof { return &proof{wake: make(chan struct{}, 1)} }

// serves is told the parts that answers come from now, in a map that is not changed any more. Those that were not served before are
// left to be read through, unless they have been; those that no answer comes from are let go of.
func (p *proof) serves(parts map[string]*replica.Part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := func(part heldPart) bool {
		if parts[part.key] == part.Part {
			return false
		}
		part.Release()
		return true
	}
	p.todo, p.damaged = slices.DeleteFunc(p.todo, gone), slices.DeleteFunc(p.damaged, gone)
	read, now := make(map[*replica.Part]time.Time, len(parts)), time.Now()
	for key, part := range parts {
		if p.served[key] == part {
			read[part] = p.read[part]
			continue
		}
		if read[part] = now; part.Recalled() {
			p.todo = append(p.todo, heldPart{part.Share(), key})
		}
	}
	p.served, p.read = parts, read
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next takes the part that is read through next.
func (p *proof) next() (part heldPart, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.todo) == 0 {
		return part, false
	}
	part, p.todo, p.reading = p.todo[0], p.todo[1:], true
	return part, true
}

// oldest holds the part that was read through longest ago, of those that are not known to be damaged.
func (p *proof) oldest() (oldest heldPart, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, part := range p.served {
		bad := slices.ContainsFunc(p.damaged, func(d heldPart) bool { return d.Part == part })
		if !bad && (!ok || p.read[part].Before(p.read[oldest.Part])) {
			oldest, ok = heldPart{part, key}, true
		}
	}
	if ok {
		oldest.Share()
	}
	return oldest, ok
}

// pause is how long to wait between two parts that are read through again.
func (p *proof) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(rereadPause, rereadEvery/time.Duration(max(1, len(p.served))))
}

// done ends what next or oldest began: bad parts are left to be replaced, if they are served still.
func (p *proof) done(part heldPart, bad bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reading = false
	if p.served[part.key] != part.Part {
		part.Release()
		return
	}
	p.read[part.Part] = time.Now()
	if bad {
		p.damaged = append(p.damaged, part)
		return
	}
	part.Release()
}

// bad are the parts that are to be replaced.
func (p *proof) bad() []heldPart {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.damaged)
}

// close lets go of all parts. Nobody may be reading one through.
func (p *proof) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	release(p.todo)
	release(p.damaged)
	p.todo, p.damaged = nil, nil
}

// pending is how many parts may not be what they should be.
func (p *proof) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.todo) + len(p.damaged)
	if p.reading {
		n++
	}
	return n
}

// err says that answers come from parts that are known to be damaged.
func (p *proof) err() error {
	if bad := p.bad(); len(bad) > 0 {
		return fmt.Errorf("%d parts have changed on this machine's disk since they were fetched, and are being fetched anew, the first is %s", len(bad), bad[0].ID)
	}
	return nil
}

// prove reads parts through until ctx ends.
func (n *Node) prove(ctx context.Context) {
	turn := time.After(rereadPause)
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.proof.wake:
			n.proveAll(ctx)
		case <-turn:
			n.reread(ctx)
			turn = time.After(n.proof.pause())
		}
	}
}

// reread reads the part through again whose turn it is.
func (n *Node) reread(ctx context.Context) {
	part, ok := n.proof.oldest()
	if !ok {
		return
	}
	n.judge(ctx, part, part.Reread(ctx, rereadShare))
}

// judge ends the reading through of a part, unless that was cut short by the end of ctx.
func (n *Node) judge(ctx context.Context, part heldPart, err error) (ended bool) {
	if ctx.Err() != nil {
		part.Release()
		return false
	}
	if err != nil {
		n.o.Logger.Error("a part has changed since it was read through, fetching it again", "part", part.ID, "error", err)
	}
	n.proof.done(part, err != nil)
	return true
}

func (n *Node) proveAll(ctx context.Context) {
	started, parts := time.Now(), 0
	for part, ok := n.proof.next(); ok; part, ok = n.proof.next() {
		if !n.judge(ctx, part, part.Verify(ctx, proofShare)) {
			return
		}
		parts++
	}
	if parts > 0 {
		n.o.Logger.Info("read through what an earlier process has left", "parts", parts, "took", time.Since(started).Round(time.Millisecond))
	}
}

// remember has the next process do without reading through what is served, once all of it was by this one. Only Run calls it.
func (n *Node) remember() {
	s := n.hold()
	if s == nil {
		return
	}
	defer s.Release()
	if n.remembered == n.followed || n.proof.pending() > 0 {
		return
	}
	files := partFiles(s.Manifest(), n.o.Originals)
	if err := n.cache.Remember(segment.Rules, func(sha256 string) bool { return files[sha256] }); err != nil {
		n.o.Logger.Warn("the next start will take longer", "error", err)
	}
	n.remembered, n.rememberedAt = n.followed, time.Now()
}

// partFiles are the files that the parts of a generation are opened from, by SHA-256.
func partFiles(m *schemas.Manifest, originals Originals) map[string]bool {
	files := map[string]bool{}
	for _, c := range m.Chunks {
		files[c.Rows.SHA256], files[c.Codes.SHA256], files[c.Vectors.SHA256] = true, true, originals == OriginalsLocal
	}
	for _, s := range m.Segments {
		files[s.SHA256] = true
	}
	return files
}
