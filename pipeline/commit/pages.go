package commit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	pageParts   = 512 // that a page has at most
	pageAtOnce  = 8   // pages put, or read, at the same time
	rememberFor = 8   // manifests read or published, until a page that none of them has is forgotten
)

// page is a page that was read or stored.
type page struct {
	ref      schemas.PageRef
	chunks   []schemas.Chunk
	segments []schemas.Segment
	used     int64 // by the memory that has it
}

// pageMemory has the pages of the manifests that were read or published last: of the next one mostly the same are wanted.
type pageMemory struct {
	mu    sync.Mutex
	pages map[string]*page // by key
	uses  int64

	last base
}

// base is the chunks of a manifest: generations have the same until the next rewrite.
type base struct {
	pages []*page // with chunks
	rest  []schemas.Chunk
	all   []schemas.Chunk
}

func (p *pageMemory) find(ref schemas.PageRef) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.pages[ref.Key]; found != nil && found.ref == ref {
		return found
	}
	return nil
}

// use has the pages of a manifest remembered, and forgets what was not used for long.
func (p *pageMemory) use(pages []*page) {
	if len(pages) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uses++
	for _, of := range pages {
		of.used = p.uses
		p.pages[of.ref.Key] = of
	}
	for key, of := range p.pages {
		if of.used <= p.uses-rememberFor {
			delete(p.pages, key)
		}
	}
}

// allChunks are those of pages and the rest. Manifests that have the same share them.
func (p *pageMemory) allChunks(pages []*page, rest []schemas.Chunk) []schemas.Chunk {
	pages = slices.DeleteFunc(slices.Clone(pages), func(of *page) bool { return len(of.chunks) == 0 })
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(p.last.pages, pages) && slices.Equal(p.last.rest, rest) {
		return p.last.all
	}
	n := len(rest)
	for _, of := range pages {
		n += len(of.chunks)
	}
	all := make([]schemas.Chunk, 0, n)
	for _, of := range pages {
		all = append(all, of.chunks...)
	}
	p.last = base{pages, rest, append(all, rest...)}
	return p.last.all
}

// whole adds the parts that are in pages to what is in the record.
func (l *Log) whole(ctx context.Context, m *schemas.Manifest) error {
	if len(m.Pages) == 0 {
		return nil
	}
	pages, err := l.pagesOf(ctx, m.Generation, m.Pages)
	if err != nil {
		return err
	}
	if err := inOrder(pages, m.Chunks); err != nil {
		return err
	}
	m.Chunks = l.pages.allChunks(pages, m.Chunks)
	var segments [][]schemas.Segment
	for _, p := range pages {
		segments = append(segments, p.segments)
	}
	m.Segments = slices.Concat(append(segments, m.Segments)...)
	return nil
}

// pagesOf reads pages that a generation names, but for those that are remembered, and remembers them.
func (l *Log) pagesOf(ctx context.Context, generation int64, refs []schemas.PageRef) ([]*page, error) {
	pages, err := l.readPages(ctx, generation, refs)
	if err == nil {
		l.pages.use(pages)
	}
	return pages, err
}

// readPages is pagesOf for who comes by once, and is not to have others forget theirs.
func (l *Log) readPages(ctx context.Context, generation int64, refs []schemas.PageRef) ([]*page, error) {
	pages := make([]*page, len(refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pageAtOnce)
	for i, ref := range refs {
		if pages[i] = l.pages.find(ref); pages[i] != nil {
			continue
		}
		g.Go(func() (err error) {
			pages[i], err = l.readPage(gctx, ref)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, l.pageGone(ctx, generation, err)
	}
	return pages, nil
}

// pageGone is err, unless a page of a generation is missing: then the generation has been collected, or somebody else deleted it.
func (l *Log) pageGone(ctx context.Context, generation int64, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	c, lookErr := l.Collection(ctx)
	switch {
	case lookErr != nil:
		return lookErr
	case c != nil && !c.Keeps(generation):
		return fmt.Errorf("generation %d: it has been collected: %w", generation, err)
	}
	return fmt.Errorf("%w: generation %d names a page that is not there: %v", schemas.ErrCorrupt, generation, err)
}

// readPage reads a page, and compares it with what the manifest says of it.
func (l *Log) readPage(ctx context.Context, ref schemas.PageRef) (*page, error) {
	body, err := l.bucket.Get(ctx, ref.Key)
	if err != nil {
		return nil, err
	}
	if size := int64(len(body)); size != ref.Size {
		return nil, corrupt(ref.Key, fmt.Errorf("%d bytes, its manifest says %d", size, ref.Size))
	}
	if sum := checksum(body); sum != ref.SHA256 {
		return nil, corrupt(ref.Key, fmt.Errorf("sha256 is %s, its manifest says %s", sum, ref.SHA256))
	}
	p, err := schemas.ParsePage(body)
	if err != nil {
		return nil, corrupt(ref.Key, err)
	}
	if is := p.Ref(ref.Object); is != ref {
		return nil, corrupt(ref.Key, fmt.Errorf("%d rows of %d chunks and %d segments, its manifest says %d of %d and %d", is.Rows, is.Chunks, is.Segments, ref.Rows, ref.Chunks, ref.Segments))
	}
	return &page{ref: ref, chunks: p.Chunks, segments: p.Segments}, nil
}

// inOrder checks that each page goes on where the one before it ends, and the chunks in line after the last one.
func inOrder(pages []*page, rest []schemas.Chunk) error {
	var last *page // of chunks
	for _, p := range pages {
		if len(p.chunks) == 0 {
			continue
		}
		if last != nil {
			if err := follows(last, p.chunks[0]); err != nil {
				return corrupt(p.ref.Key, err)
			}
		}
		last = p
	}
	if last == nil || len(rest) == 0 {
		return nil
	}
	if err := errors.Join(follows(last, rest[0]), schemas.InOrder(rest)); err != nil {
		return corrupt(last.ref.Key, fmt.Errorf("chunks in line after it: %w", err))
	}
	return nil
}

func follows(before *page, c schemas.Chunk) error {
	if end := before.chunks[len(before.chunks)-1].EndList; c.FirstList < end {
		return fmt.Errorf("chunk %s begins with list %d, allowed: %d and more, where page %s ends", c.Rows.Key, c.FirstList, end, before.ref.Key)
	}
	return nil
}

// lay stores the pages of a manifest that is to be published, and returns its record. Pages of before, the parent's, are named again
// where their parts are still together. A manifest that has been laid before keeps its pages: it is the same record.
func (l *Log) lay(ctx context.Context, m *schemas.Manifest, before []*page) (*schemas.Manifest, error) {
	pages, ok := l.remembered(m)
	if !ok {
		pages = l.pagesFor(m, before)
	}
	if len(pages) > 0 && len(pages[0].chunks) > 0 {
		if err := schemas.InOrder(m.Chunks); err != nil {
			return nil, err
		}
	}
	if err := l.putPages(ctx, pages); err != nil {
		return nil, err
	}
	l.pages.use(pages)
	m.Format, m.Pages = schemas.ManifestFormat, nil
	for _, p := range pages {
		m.Format, m.Pages = schemas.PagedManifest, append(m.Pages, p.ref)
	}
	record := *m
	for _, p := range pages {
		record.Chunks, record.Segments = record.Chunks[len(p.chunks):], record.Segments[len(p.segments):]
	}
	return &record, nil
}

// pagesFor are the pages of a manifest, those of before where it has their parts. Others are not stored yet, and have no name.
func (l *Log) pagesFor(m *schemas.Manifest, before []*page) (pages []*page) {
	var chunks []leaf[schemas.Chunk]
	var segments []leaf[schemas.Segment]
	for _, p := range before {
		if len(p.chunks) > 0 {
			chunks = append(chunks, leaf[schemas.Chunk]{p, p.chunks})
		} else {
			segments = append(segments, leaf[schemas.Segment]{p, p.segments})
		}
	}
	chunks, _ = layOut(m.Chunks, chunks, l.pageParts)
	segments, _ = layOut(m.Segments, segments, l.pageParts)
	for _, c := range chunks {
		if c.page == nil {
			c.page = &page{chunks: slices.Clone(c.parts)}
		}
		pages = append(pages, c.page)
	}
	for _, s := range segments {
		if s.page == nil {
			s.page = &page{segments: slices.Clone(s.parts)}
		}
		pages = append(pages, s.page)
	}
	return pages
}

// putPages stores the pages that are not stored yet.
func (l *Log) putPages(ctx context.Context, pages []*page) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(pageAtOnce)
	for _, p := range pages {
		if p.ref.Key != "" {
			continue
		}
		id, err := uuid.NewRandom()
		if err != nil {
			err = fmt.Errorf("put a page: %w", err)
		}
		g.Go(func() error {
			if err != nil {
				return err
			}
			return l.putPage(ctx, p, id.String())
		})
	}
	return g.Wait()
}

func (l *Log) putPage(ctx context.Context, p *page, id string) error {
	record := schemas.Page{Format: schemas.PageFormat, Chunks: p.chunks, Segments: p.segments}
	if err := record.Validate(); err != nil {
		return err
	}
	body, err := encode(record)
	if err != nil {
		return fmt.Errorf("encode a page: %w", err)
	}
	sum := checksum(body)
	o, err := l.put(ctx, pageKey(sum, id), body, sum)
	p.ref = record.Ref(o)
	return err
}

// remembered are the pages of a manifest that is whole, if all are remembered and it has their parts, and too few others for a page.
func (l *Log) remembered(m *schemas.Manifest) (pages []*page, ok bool) {
	if len(m.Pages) == 0 {
		return nil, false
	}
	chunks, segments := m.Chunks, m.Segments
	for _, ref := range m.Pages {
		p := l.pages.find(ref)
		if p == nil || !begins(chunks, p.chunks) || !begins(segments, p.segments) {
			return nil, false
		}
		pages, chunks, segments = append(pages, p), chunks[len(p.chunks):], segments[len(p.segments):]
	}
	least := leastOf(l.pageParts)
	return pages, len(chunks) < least && len(segments) < least
}
