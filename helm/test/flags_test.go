package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// image is the directory of what the image holds, which programs fills.
var image string

func TestMain(m *testing.M) {
	var err error
	if image, err = os.MkdirTemp("", "adastream"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(image)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	out, err := exec.Command("go", "build", "-C", "../..", "-o", image, "./cmd/...").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
})

// programs is the directory of what the image holds, built once for all tests.
func programs(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return image
}

// configs are the files that the programs read, by component.
func configs(t *testing.T, objects []object) map[string]map[string]any {
	t.Helper()
	files := map[string]map[string]any{}
	for _, o := range objects {
		m, ok := o.(*corev1.ConfigMap)
		if !ok || !strings.HasSuffix(m.Name, "-config") {
			continue
		}
		for name, text := range m.Data {
			values := map[string]any{}
			if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			files[strings.TrimSuffix(name, ".yaml")] = values
		}
	}
	return files
}

// secretFile finds files of mounted secrets.
var secretFile = regexp.MustCompile(`/etc/adastream/(store-ca|kafka-ca|kafka-cert|tokens|tls|client-ca|peers-ca|peers-cert|token|node-ca|node-cert)/(ca\.crt|tls\.crt|tls\.key|tokens|token)\b`)

// TestFlags hands the configuration, and the arguments, to the programs themselves: with --help they check the flags and stop.
func TestFlags(t *testing.T) {
	bin := programs(t)
	// Stands for the files that are mounted.
	pem := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(pem, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rendered(t, func(t *testing.T, objects []object) {
		dir := t.TempDir()
		for component, values := range configs(t, objects) {
			text, err := yaml.Marshal(values)
			if err != nil {
				t.Fatal(err)
			}
			text = secretFile.ReplaceAllLiteral(text, []byte(pem))
			if err := os.WriteFile(filepath.Join(dir, component+".yaml"), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		check := func(c corev1.Container) {
			args := slices.Clone(c.Command[1:])
			for _, arg := range c.Args {
				args = append(args, strings.Replace(arg, "/etc/adastream/config", dir, 1))
			}
			command := exec.Command(filepath.Join(bin, c.Command[0]), append(args, "--help")...)
			help, err := command.CombinedOutput()
			if err != nil {
				t.Errorf("%s %q: %v\n%s", c.Name, args, err, help)
			}
			for _, e := range c.Env {
				if strings.HasPrefix(e.Name, "ADASTREAM_") && !strings.Contains(string(help), "$"+e.Name) {
					t.Errorf("%s: no flag is set by %s", c.Name, e.Name)
				}
			}
		}
		for _, w := range workloads(t, objects) {
			check(w.container())
			for _, c := range w.pod.Spec.InitContainers {
				if c.Name == "init" {
					check(c)
				}
			}
		}
		if pod := test(objects); pod != nil {
			check(pod.Spec.Containers[0])
		}
	})
}

// set by the chart, so that probes, volumes and secrets fit; not for config.
var set = regexp.MustCompile(`^(store|store-ca|brokers|kafka-(tls|ca|cert|key|sasl|user|password|password-file)|listen|ops-listen|cache-dir|dir|drain|tokens-file|tls-.*|log-.*|from(-.*)?|name|topic|once)$`)

// spec are the flags of standalone that are those of `adastream init`.
var spec = regexp.MustCompile(`^(encoder|ladder|lists-per-row|loads|messages|metric|partitions|prefix|replication|shards|target-recall|vectors|attribute)$`)

// TestSchemaHasTheFlags: what config and index.spec may hold is what the programs say of their flags; -update writes it down.
func TestSchemaHasTheFlags(t *testing.T) {
	bin := programs(t)
	path := chartDir + "/values.schema.json"
	file := string(readFile(t, path))
	for _, name := range []string{"ingestor", "builder", "query", "events", "standalone", "spec"} {
		program := name
		if name == "spec" {
			program = "standalone"
		}
		out, err := exec.Command(filepath.Join(bin, "adastream"), "config", "schema", "--for="+program).Output()
		if err != nil {
			t.Fatal(err)
		}
		var schema struct {
			Properties map[string]flagSchema `json:"properties"`
		}
		if err := json.Unmarshal(out, &schema); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, flag := range slices.Sorted(maps.Keys(schema.Properties)) {
			if !set.MatchString(flag) && (name == "events" || spec.MatchString(flag) == (name == "spec")) {
				lines = append(lines, fmt.Sprintf("        %q: %s", flag, schema.Properties[flag].line(t)))
			}
		}
		block := fmt.Sprintf("    %q: {\n      \"type\": \"object\", \"additionalProperties\": false, \"properties\": {\n%s\n      }\n    }", name+"Flags", strings.Join(lines, ",\n"))
		old := regexp.MustCompile(`(?s)    "` + name + `Flags": \{(\n.*?\n    \}|[^\n]*\})`)
		if !old.MatchString(file) {
			t.Fatalf("no %sFlags in %s", name, path)
		}
		file = old.ReplaceAllLiteralString(file, block)
	}
	if *update {
		if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if line, g, w := firstDifference(string(readFile(t, path)), file); line > 0 {
		t.Errorf("%s:%d: %q, the programs say %q; go test -update", path, line, g, w)
	}
}

type flagSchema struct {
	Description string           `json:"description"`
	AnyOf       []map[string]any `json:"anyOf"`
}

// line is the flag's schema on one, without null: Helm takes what is null away.
func (s flagSchema) line(t *testing.T) string {
	t.Helper()
	property := map[string]any{"description": s.Description}
	maps.Copy(property, s.AnyOf[0])
	if types, ok := property["type"].([]any); ok && slices.Contains(types, any("string")) { // a duration
		property = map[string]any{"description": s.Description, "$ref": "#/definitions/flagDuration"}
	}
	data, err := json.Marshal(property)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
