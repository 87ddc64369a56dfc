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

// rememberEvery is the least time between two records of what this process has read through, see [store.Cache.Remember]: what a killed
// process has fetched since the last one is read through at the next start.
const rememberEvery = time.Minute

// proof has the parts that an earlier process of this machine had read through, and this one has not: a node answers from them at
// once, and reads them through beside that.
type proof struct {
	wake chan struct{} // there are parts to be read through

	mu      sync.Mutex
	served  map[string]*replica.Part // that answers come from
	todo    []heldPart               // of those, held, as those that are damaged are
	damaged []heldPart
	reading bool // one that next took
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
	for key, part := range parts {
		if p.served[key] != part && part.Recalled() {
			p.todo = append(p.todo, heldPart{part.Share(), key})
		}
	}
	p.served = parts
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

// done ends what next began: bad parts are left to be replaced, if they are served still.
func (p *proof) done(part heldPart, bad bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reading = false
	if bad && p.served[part.key] == part.Part {
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.proof.wake:
			n.proveAll(ctx)
		}
	}
}

func (n *Node) proveAll(ctx context.Context) {
	started, parts := time.Now(), 0
	for part, ok := n.proof.next(); ok; part, ok = n.proof.next() {
		err := part.Verify(ctx, proofShare)
		if ctx.Err() != nil {
			part.Release()
			return
		}
		if err != nil {
			n.o.Logger.Error("a part is not what it was when an earlier process read it through, it is fetched anew", "part", part.ID, "error", err)
		}
		n.proof.done(part, err != nil)
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
