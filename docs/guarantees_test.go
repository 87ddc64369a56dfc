package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each test that a page names is where it says, and each line of the table that is about what holds names one or a page that does.
func TestGuaranteesAreTested(t *testing.T) {
	page := testsOf(t, "guarantees.md", 30)
	table, _, _ := strings.Cut(page, "\n## ")
	for line := range strings.SplitSeq(table, "\n") {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| guarantee ") && !strings.Contains(line, "`Test") {
			t.Errorf("no test is named: %s", line)
		}
	}
}

func TestDefencesAreTested(t *testing.T) {
	_, page, _ := strings.Cut(testsOf(t, "security.md", 20), "\n## Threats\n")
	table, _, _ := strings.Cut(page, "\n## ")
	for line := range strings.SplitSeq(table, "\n") {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| border ") && !strings.Contains(line, "`Test") && !strings.Contains(line, "(guarantees.md)") {
			t.Errorf("no test is named: %s", line)
		}
	}
}

// testsOf reads a page and checks the tests that it names.
func testsOf(t *testing.T, name string, least int) string {
	t.Helper()
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile("\\[`(Test[A-Za-z0-9_]+)`\\]\\(([^)]+)\\)").FindAllStringSubmatch(string(page), -1)
	if len(links) < least {
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
	return string(page)
}
