package schemas

import (
	"errors"
	"fmt"
	"iter"
)

// PagedManifest is the format of a manifest that has pages. One without is of ManifestFormat, so that who knows no pages reads it, and
// refuses the other rather than see an index with parts missing.
const PagedManifest = 2

// PageFormat is that of a page.
const PageFormat = 1

// Limits of a page for readers. Writers stay far below them.
const (
	MaxPageParts = 4096
	MaxPageBytes = 16 << 20
)

// PageRef names a page of a manifest.
type PageRef struct {
	Object
	Chunks   int   `json:"chunks,omitempty"` // in the page; it has either chunks or segments
	Segments int   `json:"segments,omitempty"`
	Rows     int64 `json:"rows"` // of these
}

// Page is some consecutive parts of a generation, in an object of its own: generations after it name it again for as long as
// these parts stay.
type Page struct {
	Format   int       `json:"format"`
	Chunks   []Chunk   `json:"chunks,omitempty"` // in the order of their lists
	Segments []Segment `json:"segments,omitempty"`
}

// Ref names the page as it is stored in an object.
func (p *Page) Ref(o Object) PageRef {
	ref := PageRef{Object: o, Chunks: len(p.Chunks), Segments: len(p.Segments)}
	for _, c := range p.Chunks {
		ref.Rows += int64(c.NumRows)
	}
	for _, s := range p.Segments {
		ref.Rows += int64(s.NumRows)
	}
	return ref
}

// Validate reports the first fault of a page by itself.
func (p *Page) Validate() error {
	if n := max(len(p.Chunks), len(p.Segments)); n == 0 || n > MaxPageParts || len(p.Chunks) > 0 && len(p.Segments) > 0 {
		return fmt.Errorf("%d chunks and %d segments, allowed: 1 to %d of one kind", len(p.Chunks), len(p.Segments), MaxPageParts)
	}
	if err := InOrder(p.Chunks); err != nil {
		return err
	}
	seen := make(map[string]bool, len(p.Segments))
	for i, s := range p.Segments {
		if s.NumRows < 1 {
			return fmt.Errorf("segments: number %d, %s: %d rows, allowed: 1 and more", i, s.Key, s.NumRows)
		}
		if seen[s.ID] {
			return fmt.Errorf("segments: number %d, %s: it is there twice", i, s.Key)
		}
		seen[s.ID] = true
	}
	return nil
}

// InOrder checks that chunks are in the order of their lists, which no two of them share.
func InOrder(chunks []Chunk) error {
	end := 0
	for i, c := range chunks {
		if c.FirstList < end || c.EndList <= c.FirstList {
			return fmt.Errorf("chunks: number %d, %s: lists [%d, %d), allowed: of one list and more, from %d on, where the one before it ends", i, c.Rows.Key, c.FirstList, c.EndList, end)
		}
		if c.NumRows < 1 {
			return fmt.Errorf("chunks: number %d, %s: %d rows, allowed: 1 and more", i, c.Rows.Key, c.NumRows)
		}
		end = c.EndList
	}
	return nil
}

// ParsePage reads a page strictly.
func ParsePage(data []byte) (*Page, error) {
	var p Page
	if err := decodeStrict(data, &p, PageFormat); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	if p.Format != PageFormat {
		return nil, fmt.Errorf("page: %w", unknown(p.Format, PageFormat))
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return &p, nil
}

// ParseManifest reads the record of a manifest strictly. Parts that are in pages are not in what it returns: commit.Log fills
// them in.
func ParseManifest(data []byte) (*Manifest, error) {
	var m Manifest
	if err := decodeStrict(data, &m, ManifestFormat, PagedManifest); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.Format != ManifestFormat && m.Format != PagedManifest {
		return nil, fmt.Errorf("manifest: %w", unknown(m.Format, ManifestFormat, PagedManifest))
	}
	if len(m.Trace) > maxTrace {
		return nil, fmt.Errorf("manifest: trace of %d bytes, allowed: %d", len(m.Trace), maxTrace)
	}
	if m.Generation < 1 || m.Builder == "" {
		return nil, fmt.Errorf("manifest: generation %d of builder %q is not one", m.Generation, m.Builder)
	}
	if err := m.checkPages(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return &m, nil
}

// checkPages joins the faults of the pages that a record names.
func (m *Manifest) checkPages() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if (m.Format == PagedManifest) != (len(m.Pages) > 0) {
		bad("pages: %d in format %d, allowed: some in format %d, none in format %d", len(m.Pages), m.Format, PagedManifest, ManifestFormat)
	}
	seen := make(map[string]bool, len(m.Pages))
	segments := false
	for i, p := range m.Pages {
		if n := p.Chunks + p.Segments; p.Chunks < 0 || p.Segments < 0 || p.Chunks > 0 && p.Segments > 0 || n < 1 || n > MaxPageParts || p.Rows < int64(n) {
			bad("pages: number %d, %s: %d rows of %d chunks and %d segments, allowed: at least a row for each of 1 to %d of one kind", i, p.Key, p.Rows, p.Chunks, p.Segments, MaxPageParts)
		}
		if p.Size < 1 || p.Size > MaxPageBytes {
			bad("pages: number %d, %s: %d bytes, allowed: 1 to %d", i, p.Key, p.Size, MaxPageBytes)
		}
		if seen[p.Key] {
			bad("pages: number %d, %s: it is there twice", i, p.Key)
		}
		if p.Chunks > 0 && segments {
			bad("pages: number %d, %s: of chunks, allowed: after one of segments only those", i, p.Key)
		}
		seen[p.Key], segments = true, segments || p.Segments > 0
	}
	return errors.Join(faults...)
}

// Objects yields all that the generation names, its pages too.
func (m *Manifest) Objects() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		ok := true
		each := func(objects ...Object) {
			for _, o := range objects {
				ok = ok && yield(o)
			}
		}
		for _, p := range m.Pages {
			each(p.Object)
		}
		if m.Model != nil {
			each(m.Model.Object)
		}
		if m.Trained != nil {
			each(m.Trained.Model.Object)
		}
		for _, c := range m.Chunks {
			each(c.Rows, c.Codes, c.Vectors)
		}
		for _, s := range m.Segments {
			each(s.Object)
		}
		each(m.Tombstones...)
		if m.Dead != nil {
			each(*m.Dead)
		}
	}
}
