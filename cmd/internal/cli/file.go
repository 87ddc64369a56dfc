package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// loadYAML reads a file of flags. Unlike the library's own order, the environment goes before the file.
func loadYAML(r io.Reader) (kong.Resolver, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	// The text of a value counts, not what YAML takes it for: 007 is a name, and 2026-11-28 too.
	values := map[string]yaml.Node{}
	err = yaml.NewDecoder(bytes.NewReader(body)).Decode(&map[string]any{}) // which is the stricter one
	if err == nil {
		err = yaml.NewDecoder(bytes.NewReader(body)).Decode(&values)
	}
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return &fileResolver{values}, nil
	case syntaxFault.MatchString(err.Error()):
		return nil, err
	default: // it may quote the file, which may be another one than was meant
		return nil, errors.New("config file: is not a list of flag names and values, allowed: lines such as log-level: info")
	}
}

// syntaxFault is an error of the parser that says where and what it had expected.
var syntaxFault = regexp.MustCompile("^yaml: line [0-9]+: (did not find|found|could not find|mapping values|block) ")

type fileResolver struct{ values map[string]yaml.Node }

// Validate implements kong.Resolver.
func (f *fileResolver) Validate(app *kong.Application) error {
	var known []string
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && inFiles(flag) {
			known = append(known, flag.Name)
		}
		return next(nil)
	})
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		if !slices.Contains(known, name) {
			faults = append(faults, fmt.Errorf("config file: %q is not a flag of this command%s", name, suggestion(name, known)))
		}
	}
	return errors.Join(faults...)
}

// inFiles reports whether a file can have the flag: not those that say what to do instead of running, and where the file is.
func inFiles(flag *kong.Flag) bool {
	return flag.Name != "help" && flag.Name != "version" && flag.Name != "config"
}

// suggestion is the known name that a name is nearest to, unless it is far from all.
func suggestion(name string, known []string) string {
	nearest := slices.MinFunc(known, func(a, b string) int {
		return cmp.Or(cmp.Compare(levenshtein.ComputeDistance(name, a), levenshtein.ComputeDistance(name, b)), strings.Compare(a, b))
	})
	if levenshtein.ComputeDistance(name, nearest) > max(2, len(name)/3) {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", nearest)
}

// Resolve implements kong.Resolver.
func (f *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	value, found := f.values[flag.Name]
	if !found || value.ShortTag() == "!!null" {
		return nil, nil
	}
	switch value := unaliased(&value); value.Kind {
	case yaml.SequenceNode:
		parts := make([]string, len(value.Content))
		for i, v := range value.Content {
			parts[i] = unaliased(v).Value
		}
		return kong.JoinEscaped(parts, flag.Tag.Sep), nil
	case yaml.MappingNode:
		var parts []string
		for i := 0; i+1 < len(value.Content); i += 2 {
			parts = append(parts, unaliased(value.Content[i]).Value+"="+unaliased(value.Content[i+1]).Value)
		}
		slices.Sort(parts)
		return kong.JoinEscaped(parts, flag.Tag.MapSep), nil
	default:
		return value.Value, nil
	}
}

// unaliased is what a node stands for.
func unaliased(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
