package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// ReadConfig reads flags, a pointer to a struct of them, as a command of that name does which is given a file of them, or none, "":
// environment before file before default.
func ReadConfig(name string, flags any, file string) error {
	_, err := readConfig(name, flags, file)
	return err
}

func readConfig(name string, flags any, file string) (*kong.Application, error) {
	parser, err := newParser(name, flags)
	if err != nil {
		return nil, err
	}
	var args []string
	if file != "" {
		args = []string{"--config", file}
	}
	if _, err := parser.Parse(args); err != nil {
		return nil, Usage(err)
	}
	return parser.Model, nil
}

// PrintConfig writes what ReadConfig read, as a file that can be read again. Secrets, and flags that are not set, are comments.
func PrintConfig(w io.Writer, name string, flags any, file string) error {
	app, err := readConfig(name, flags, file)
	if err != nil {
		return err
	}
	inFile, err := namesIn(file)
	if err != nil {
		return err
	}
	group := ""
	for _, flag := range configurable(app) {
		if title := titleOf(flag); title != group {
			group = title
			fmt.Fprintf(w, "\n# %s\n", strings.TrimSuffix(title, ":"))
		}
		line, err := lineOf(flag)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s%s\n", line, origin(flag, inFile))
	}
	return nil
}

// configurable are the flags of a command that a file can have, in the order of its help.
func configurable(app *kong.Application) []*kong.Flag {
	var flags []*kong.Flag
	for _, group := range app.AllFlags(true) {
		for _, flag := range group {
			if inFiles(flag) {
				flags = append(flags, flag)
			}
		}
	}
	return flags
}

func titleOf(flag *kong.Flag) string {
	if flag.Group == nil {
		return "What it does"
	}
	return flag.Group.Title
}

func namesIn(file string) (map[string]any, error) {
	if file == "" {
		return nil, nil
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	names := map[string]any{}
	return names, yaml.Unmarshal(body, &names)
}

func origin(flag *kong.Flag, inFile map[string]any) string {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return " # " + name
		}
	}
	if inFile[flag.Name] != nil {
		return " # file"
	}
	return ""
}

// lineOf is the line of a flag without its end.
func lineOf(flag *kong.Flag) (string, error) {
	value, set := valueOf(flag.Target)
	if !set {
		if flag.Target.Type() == reflect.TypeFor[Secret]() && flag.Target.Len() > 0 {
			return fmt.Sprintf("# %s: %s", flag.Name, hidden), nil
		}
		return fmt.Sprintf("# %s:", flag.Name), nil
	}
	var node yaml.Node
	if err := node.Encode(value); err != nil {
		return "", fmt.Errorf("%s: %w", flag.Name, err)
	}
	node.Style |= yaml.FlowStyle
	body, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: flag.Name}, &node}})
	return string(bytes.TrimSpace(body)), err
}

// valueOf is a flag's value as a file has it, and whether it says anything.
func valueOf(v reflect.Value) (value any, set bool) {
	switch x := v.Interface().(type) {
	case Secret:
		return nil, false
	case time.Duration:
		return x.String(), true
	case slog.Level:
		return strings.ToLower(x.String()), true
	case string:
		return withoutCredentials(x), x != ""
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil, false
		}
		return valueOf(v.Elem())
	case reflect.Slice, reflect.Map:
		if texts, ok := v.Interface().([]string); ok {
			shown := make([]string, len(texts))
			for i, text := range texts {
				shown[i] = withoutCredentials(text)
			}
			return shown, len(texts) > 0
		}
		return v.Interface(), v.Len() > 0
	default:
		return v.Interface(), true
	}
}

// withoutCredentials is a value, without what it has of them if it is a URL: there they are refused, but not before they are printed.
func withoutCredentials(s string) string {
	if shard, address, ok := strings.Cut(s, "="); ok && strings.Contains(address, "://") && !strings.Contains(shard, "://") { // of --peers
		return shard + "=" + withoutCredentials(address)
	}
	u, err := url.Parse(s)
	switch {
	case strings.Contains(s, "://") && err != nil:
		return hidden
	case err == nil && u.User != nil:
		u.User = url.User("hidden")
		return u.String()
	}
	return s
}

// Schema is a JSON Schema of the files that ReadConfig reads. It is of what people should write: the command is more lenient.
func Schema(name string, flags any) ([]byte, error) {
	parser, err := newParser(name, flags)
	if err != nil {
		return nil, err
	}
	properties := map[string]any{}
	for _, flag := range configurable(parser.Model) {
		p := typeOf(flag.Target.Type())
		if flag.Enum != "" {
			p["enum"] = enumOf(flag)
		}
		// A name without a value is as good as none.
		p = map[string]any{"anyOf": []any{p, map[string]any{"type": "null"}}, "description": flag.Help}
		if flag.HasDefault {
			p["default"], _ = valueOf(defaultOf(flag))
		}
		properties[flag.Name] = p
	}
	return json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Configuration file of " + name,
		"type": "object", "additionalProperties": false, "properties": properties,
	}, "", "  ")
}

// defaultOf is what a flag is before anything is read.
func defaultOf(flag *kong.Flag) reflect.Value {
	v := reflect.New(flag.Target.Type()).Elem()
	scanner := kong.Scan(flag.Default)
	if flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scanner}, v) != nil {
		return reflect.ValueOf(flag.Default)
	}
	return v
}

func typeOf(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`, "minimum": 0, "maximum": 0}
	case t == reflect.TypeFor[slog.Level]():
		return map[string]any{"type": "string", "enum": []string{"debug", "info", "warn", "error"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeOf(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": typeOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": typeOf(t.Elem())}
	default:
		return map[string]any{"type": "string"}
	}
}
