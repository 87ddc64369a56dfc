package docs

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	link      = regexp.MustCompile(`\]\(([^()\s]+(?:\([^()\s]*\))?[^()\s]*)\)`)
	attribute = regexp.MustCompile(`(?:src|srcset|href)="([^"\s]+)"`)
	fence     = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inline    = regexp.MustCompile("`[^`\n]*`")
	heading   = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	linked    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// texts are all pages of the repository by path, without what is code in them.
func texts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || path == "../bench/data"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path)
		all[filepath.ToSlash(path)] = fence.ReplaceAllString(string(text), "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 40 {
		t.Fatalf("found only %d pages", len(all))
	}
	return all
}

// targets are where a page's links lead.
func targets(text string) []string {
	var all []string
	text = inline.ReplaceAllString(text, "code")
	for _, found := range slices.Concat(link.FindAllStringSubmatch(text, -1), attribute.FindAllStringSubmatch(text, -1)) {
		all = append(all, found[1])
	}
	return all
}

// anchors are those of a page's headings, as GitHub makes them.
func anchors(text string) []string {
	var all []string
	times := map[string]int{}
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, linked.ReplaceAllString(h[1], "$1"))
		if n := times[slug]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", slug, n))
		} else {
			all = append(all, slug)
		}
		times[slug]++
	}
	return all
}

// Every link leads somewhere. Those to other hosts are only looked at: the test asks nobody.
func TestLinks(t *testing.T) {
	all := texts(t)
	checked := 0
	for page, text := range all {
		for _, target := range targets(text) {
			u, err := url.Parse(target)
			switch {
			case err != nil:
				t.Errorf("%s: %s: %v", page, target, err)
				continue
			case u.Scheme != "":
				if web := u.Scheme == "https" || u.Scheme == "http"; !web && u.Scheme != "mailto" || web && !strings.Contains(u.Host, ".") {
					t.Errorf("%s: %s is no address", page, target)
				}
				continue
			}
			checked++
			to := page
			if u.Path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(page), filepath.FromSlash(u.Path)))
			}
			if _, err := os.Stat(filepath.FromSlash(to)); err != nil {
				t.Errorf("%s: %s: there is no such file", page, target)
			} else if u.Fragment != "" && strings.HasSuffix(to, ".md") && !slices.Contains(anchors(all[to]), u.Fragment) {
				t.Errorf("%s: %s: no heading of %s makes this anchor", page, target, to)
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d links were found", checked)
	}
}

// Every page of docs can be reached from its index. A link to a directory leads to the pages in it.
func TestPagesAreReached(t *testing.T) {
	all := texts(t)
	reached := map[string]bool{}
	next := []string{"README.md"}
	for len(next) > 0 {
		page := next[0]
		next = next[1:]
		if reached[page] {
			continue
		}
		reached[page] = true
		for _, target := range targets(all["../docs/"+page]) {
			path, _, _ := strings.Cut(target, "#")
			to := filepath.ToSlash(filepath.Join(filepath.Dir(page), filepath.FromSlash(path)))
			for other := range all {
				if name, ok := strings.CutPrefix(other, "../docs/"); ok && path != "" && (name == to || filepath.ToSlash(filepath.Dir(name)) == to) {
					next = append(next, name)
				}
			}
		}
	}
	for page := range all {
		if name, ok := strings.CutPrefix(page, "../docs/"); ok && !reached[name] {
			t.Errorf("%s cannot be reached from docs/README.md", name)
		}
	}
}

// What comparison.md says of others has a source in each cell, or is said not to have been found.
func TestComparisonHasSources(t *testing.T) {
	_, tables, _ := strings.Cut(texts(t)["../docs/comparison.md"], "\n## Getting data in\n")
	cells := 0
	for line := range strings.Lines(tables) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| |") || strings.HasPrefix(line, "| **Adastream**") {
			continue
		}
		columns := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for _, cell := range columns[1:] {
			if cells++; !strings.Contains(cell, "](https://") && !strings.Contains(cell, "not found") {
				t.Errorf("no source for %q of%s", cell, columns[0])
			}
		}
	}
	if cells < 90 {
		t.Errorf("only %d cells were found", cells)
	}
}
