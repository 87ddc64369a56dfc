package schemas

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// A constant of this package that is named as a format is told by Formats.
func TestFormatsAreAll(t *testing.T) {
	var told []string
	for _, f := range Formats() {
		told = append(told, f.Kind)
		if !slices.Contains(f.Reads, f.Writes) || !slices.IsSorted(f.Reads) {
			t.Errorf("%+v", f)
		}
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for _, name := range spec.Names {
					if kind, ok := strings.CutSuffix(name.Name, "Format"); ok && kind != "Meta" { // the key, not a version
						declared = append(declared, strings.ToLower(kind))
					}
				}
			}
			return true
		})
	}
	slices.Sort(told)
	slices.Sort(declared)
	if !slices.Equal(told, declared) {
		t.Errorf("told %q, declared %q", told, declared)
	}
}
