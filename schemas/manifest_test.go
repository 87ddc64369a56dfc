package schemas

import (
	"strings"
	"testing"
)

// What was published before there were pages is of the same format, and a version from before refuses one with pages for its format,
// rather than serve what is in line.
func TestPagesAreRefusedByEarlierVersions(t *testing.T) {
	var before struct { // what a version without pages knows of a manifest, as far as this one has it
		Format     int   `json:"format"`
		Generation int64 `json:"generation"`
	}
	const want = "format: 2 is not known here, allowed: 1; a later version of Adastream wrote it: upgrade this one"
	if err := decodeStrict(mustEncode(t, pagedManifest()), &before, ManifestFormat); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestPageRefsAreChecked(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"format 1":              {func(m *Manifest) { m.Format = ManifestFormat }, "pages: 2 in format 1, allowed: some in format 2, none in format 1"},
		"none":                  {func(m *Manifest) { m.Pages = nil }, "pages: 0 in format 2"},
		"twice":                 {func(m *Manifest) { m.Pages[1] = m.Pages[0] }, "pages: number 1, c: it is there twice"},
		"of both":               {func(m *Manifest) { m.Pages[0].Segments = 1 }, "pages: number 0, c: 20 rows of 2 chunks and 1 segments, allowed: at least a row for each of 1 to 4096 of one kind"},
		"of neither":            {func(m *Manifest) { m.Pages[0].Chunks = 0 }, "20 rows of 0 chunks and 0 segments"},
		"of less than none":     {func(m *Manifest) { m.Pages[0].Chunks, m.Pages[0].Segments = -1, 3 }, "-1 chunks and 3 segments"},
		"of too many":           {func(m *Manifest) { m.Pages[1].Segments, m.Pages[1].Rows = 4097, 5000 }, "4097 segments"},
		"fewer rows than parts": {func(m *Manifest) { m.Pages[0].Rows = 1 }, "1 rows of 2 chunks"},
		"too large":             {func(m *Manifest) { m.Pages[0].Size = 16<<20 + 1 }, "16777217 bytes, allowed: 1 to 16777216"},
		"without bytes":         {func(m *Manifest) { m.Pages[0].Size = 0 }, "0 bytes"},
		"segments first":        {func(m *Manifest) { m.Pages[0], m.Pages[1] = m.Pages[1], m.Pages[0] }, "pages: number 1, c: of chunks, allowed: after one of segments only those"},
	} {
		m := pagedManifest()
		test.change(m)
		if _, err := ParseManifest(mustEncode(t, m)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
}

func TestPagesAreChecked(t *testing.T) {
	other := strings.Repeat("0", 64)
	tooMany := &Page{Format: PageFormat}
	for i := range MaxPageParts + 1 {
		tooMany.Chunks = append(tooMany.Chunks, chunk(i, i+1))
	}
	for name, test := range map[string]struct {
		page *Page
		want string
	}{
		"nothing":              {&Page{Format: PageFormat}, "0 chunks and 0 segments, allowed: 1 to 4096 of one kind"},
		"both":                 {&Page{Format: PageFormat, Chunks: []Chunk{chunk(0, 1)}, Segments: []Segment{segmentOf(sum)}}, "1 chunks and 1 segments"},
		"too many":             {tooMany, "4097 chunks"},
		"a list of two chunks": {&Page{Format: PageFormat, Chunks: []Chunk{chunk(0, 3), chunk(2, 5)}}, "chunks: number 1, k: lists [2, 5), allowed: of one list and more, from 3 on"},
		"wrong order":          {&Page{Format: PageFormat, Chunks: []Chunk{chunk(3, 5), chunk(0, 3)}}, "chunks: number 1, k: lists [0, 3)"},
		"no lists":             {&Page{Format: PageFormat, Chunks: []Chunk{chunk(3, 3)}}, "lists [3, 3)"},
		"lists below 0":        {&Page{Format: PageFormat, Chunks: []Chunk{chunk(-1, 3)}}, "lists [-1, 3)"},
		"a chunk twice":        {&Page{Format: PageFormat, Chunks: []Chunk{chunk(0, 3), chunk(0, 3)}}, "chunks: number 1, k: lists [0, 3)"},
		"a segment twice":      {&Page{Format: PageFormat, Segments: []Segment{segmentOf(sum), segmentOf(other), segmentOf(sum)}}, "segments: number 2, k: it is there twice"},
		"a segment of no rows": {&Page{Format: PageFormat, Segments: []Segment{{ID: sum, Object: object}}}, "segments: number 0, k: 0 rows, allowed: 1 and more"},
		"format":               {&Page{Format: 2, Segments: []Segment{segmentOf(sum)}}, "format: 2 is not known here, allowed: 1"},
	} {
		if _, err := ParsePage(mustEncode(t, test.page)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
}
