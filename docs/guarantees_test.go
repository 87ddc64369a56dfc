package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuaranteesAreTested: each test that guarantees.md names is where it says.
func TestGuaranteesAreTested(t *testing.T) {
	page, err := os.ReadFile("guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile("\\[`(Test[A-Za-z0-9_]+)`\\]\\(([^)]+)\\)").FindAllStringSubmatch(string(page), -1)
	if len(links) < 30 {
		t.Fatalf("only %d tests are named", len(links))
	}
	for _, link := range links {
		code, err := os.ReadFile(filepath.FromSlash(link[2]))
		if err != nil {
			t.Errorf("%s: %v", link[1], err)
		} else if !strings.Contains(string(code), "\nfunc "+link[1]+"(t *testing.T) {") {
			t.Errorf("%s has no %s", link[2], link[1])
		}
	}
	table, _, _ := strings.Cut(string(page), "\n## ")
	for line := range strings.SplitSeq(table, "\n") {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| guarantee ") && !strings.Contains(line, "`Test") {
			t.Errorf("no test is named: %s", line)
		}
	}
}
