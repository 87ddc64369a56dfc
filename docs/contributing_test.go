package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What CONTRIBUTING.md names is there: paths, packages, tests, flags of tests, scripts and what they take.
func TestContributingNamesWhatIsThere(t *testing.T) {
	t.Chdir("..")
	page := string(read(t, "CONTRIBUTING.md"))
	code := regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(page, -1)
	inFence := regexp.MustCompile(`(?m)^    (\S.*)$`).FindAllStringSubmatch(page, -1)
	paths, commands := 0, 0
	for _, c := range append(code, inFence...) {
		text, _, _ := strings.Cut(c[1], " #")
		text = strings.TrimSpace(text)
		words := strings.Fields(text)
		switch {
		case len(words) == 1 && !strings.HasPrefix(text, "$") && !strings.HasPrefix(text, "-") && !strings.HasPrefix(text, "/") && regexp.MustCompile(`^[\w.-]*/|^[\w-]*\.(md|go)$|^\.go-version$`).MatchString(text):
			paths++
			if _, err := os.Stat(text); err != nil {
				t.Error(err)
			}
		case slices.Contains(words, "go") || strings.HasPrefix(text, ".ci/"):
			commands++
			checkGo(t, words)
		}
	}
	if paths < 40 || commands < 20 {
		t.Errorf("only %d paths and %d commands are found", paths, commands)
	}
}

func TestUpgradingIsTested(t *testing.T) { testsOf(t, "upgrade.md", 7) }
