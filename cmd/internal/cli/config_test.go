package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// daemons are the flags of each.
func daemons() map[string]func() any {
	return map[string]func() any{
		"query":    func() any { return &Query{} },
		"builder":  func() any { return &Builder{} },
		"ingestor": func() any { return &Ingestor{} },
	}
}

// full is a file that sets all kinds of flags.
const full = `
store: s3://bucket/prefix?endpoint=https://host:9000
brokers: ["a:1", "b:2,still b"]
flush-age: 1s
flush-rows: 17
accept-gap: true
kafka-user: "# no comment"
group: ":x"
log-level: debug
log-format: json
kafka-tls:
`

// What is printed is what was read, however often; it says where each value comes from, and no secret.
func TestPrintConfigRoundTrips(t *testing.T) {
	t.Setenv("ADASTREAM_KAFKA_PASSWORD", "s3cret")
	t.Setenv("ADASTREAM_FLUSH_ROWS", "18")
	dir := t.TempDir()
	file := writeFile(t, dir, "a.yaml", []byte(full))
	var want Ingestor
	if err := ReadConfig("ingestor", &want, file); err != nil {
		t.Fatal(err)
	}
	if want.FlushRows != 18 || len(want.Brokers) != 2 || want.Brokers[1] != "b:2,still b" || !want.AcceptGap || want.KafkaUser != "# no comment" || want.KafkaTLS {
		t.Fatalf("read %+v", want)
	}
	for range 2 {
		var out bytes.Buffer
		if err := PrintConfig(&out, "ingestor", &Ingestor{}, file); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"flush-rows: 18 # ADASTREAM_FLUSH_ROWS\n", "accept-gap: true # file\n", "# kafka-password: (hidden) # ADASTREAM_KAFKA_PASSWORD\n", "# kafka-ca:\n", "flush-bytes: 33554432"} {
			if !strings.Contains(out.String(), line) {
				t.Errorf("%q is not in\n%s", line, out.String())
			}
		}
		if strings.Contains(out.String(), "s3cret") {
			t.Errorf("the password is in\n%s", out.String())
		}
		file = writeFile(t, dir, "b.yaml", out.Bytes())
		var got Ingestor
		if err := ReadConfig("ingestor", &got, file); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		got.Config = want.Config // the file's own name
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v\nwant %+v", got, want)
		}
	}
}

func TestPrintConfigHidesCredentialsOfURLs(t *testing.T) {
	for _, place := range []string{"s3://key:s3cret@bucket/prefix", "s3://s3cret@bucket", "s3://key:s3cret%zz@bucket"} {
		t.Setenv("ADASTREAM_STORE", place)
		var out bytes.Buffer
		if err := PrintConfig(&out, "query", &Query{}, ""); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "s3cret") || !strings.Contains(out.String(), "\nstore: ") {
			t.Errorf("%s is printed as\n%s", place, out.String())
		}
	}
	t.Setenv("ADASTREAM_STORE", "/store")
	t.Setenv("ADASTREAM_PEERS", "0=http://a:8080,1=https://user:s3cret@b:8080")
	var out bytes.Buffer
	if err := PrintConfig(&out, "query", &Query{}, ""); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "s3cret") || !strings.Contains(out.String(), "0=http://a:8080") {
		t.Errorf("peers are printed as\n%s", out.String())
	}
}

// The schema knows each flag, takes what is printed, and refuses what the command refuses.
func TestSchema(t *testing.T) {
	t.Setenv("ADASTREAM_STORE", "/store")
	t.Setenv("ADASTREAM_BROKERS", "a:1")
	for name, flags := range daemons() {
		body, err := Schema(name, flags())
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource("schema.json", document); err != nil {
			t.Fatal(err)
		}
		schema, err := compiler.Compile("schema.json")
		if err != nil {
			t.Fatal(err)
		}
		validate := func(file string) error {
			var fromYAML any
			if err := yaml.Unmarshal([]byte(file), &fromYAML); err != nil {
				t.Fatal(err)
			}
			asJSON, err := json.Marshal(fromYAML)
			if err != nil {
				t.Fatal(err)
			}
			instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
			if err != nil {
				t.Fatal(err)
			}
			return schema.Validate(instance)
		}
		var out bytes.Buffer
		if err := PrintConfig(&out, name, flags(), ""); err != nil {
			t.Fatal(err)
		}
		if err := validate(out.String()); err != nil {
			t.Errorf("%s: what is printed: %v\n%s", name, err, out.String())
		}
		uncommented := strings.NewReplacer("\n# ", "\n").Replace(out.String())
		for property, p := range document.(map[string]any)["properties"].(map[string]any) {
			if !strings.Contains(uncommented, "\n"+property+":") {
				t.Errorf("%s: %s is not printed", name, property)
			}
			if p.(map[string]any)["description"] == "" {
				t.Errorf("%s: %s has no description", name, property)
			}
		}
		for _, c := range []struct {
			file string
			ok   bool
		}{
			{"ops-listen: a:1", true}, {"ops-listen:", true}, {"log-level: warn", true}, {"log-level: loud", false}, {"log-format: xml", false}, {"no-such-flag: 1", false},
			{"ops-listen: [a]", false}, {"config: a", false}, {"help: true", false},
		} {
			if err := validate(c.file); (err == nil) != c.ok {
				t.Errorf("%s: the schema says of %q: %v", name, c.file, err)
			}
			file := writeFile(t, t.TempDir(), "c.yaml", []byte(c.file))
			if err := ReadConfig(name, flags(), file); (err == nil) != c.ok && !strings.Contains(c.file, "[a]") {
				t.Errorf("%s: the command says of %q: %v", name, c.file, err)
			}
		}
	}
}

// A name that nobody knows is refused, with the one that was likely meant; a file has all its faults told at once.
func TestUnknownNames(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"flush_age: 1s", `"flush_age" is not a flag of this command; did you mean "flush-age"?`},
		{"flsh-age: 1s", `did you mean "flush-age"?`},
		{"broker: a", `did you mean "brokers"?`},
		{"a: 1\nbrokrs: b", `did you mean "brokers"?`},
		{"elephants: 1s", `"elephants" is not a flag of this command`},
		{"config: other.yaml", `"config" is not a flag`},
	} {
		file := writeFile(t, t.TempDir(), "c.yaml", []byte(c.file))
		err := ReadConfig("ingestor", &Ingestor{}, file)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.file, err, c.want)
		}
		if strings.Contains(c.file, "elephants") && strings.Contains(fmt.Sprint(err), "did you mean") {
			t.Errorf("a suggestion that is far off: %v", err)
		}
	}
	if err := ReadConfig("ingestor", &Ingestor{}, filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("no file, and no error")
	}
}

// A file that is another one than was meant, of a password for example, is not shown.
func TestOtherFilesAreNotShown(t *testing.T) {
	for _, content := range []string{"s3cret", "- s3cret\n- more", "s3cret: [", "a: &s3cret *s3cret", "*s3cret", "!s3cret a", "%s3cret", "@s3cret", "a: b: s3cret", "\ts3cret"} {
		file := writeFile(t, t.TempDir(), "c.yaml", []byte(content))
		err := ReadConfig("query", &Query{}, file)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// Lists and maps are values of a file like others, whatever is in them; a name without a value says nothing.
func TestFileValues(t *testing.T) {
	var f struct {
		List      []string
		Attribute map[string]string
		Text      string `default:"as ever"`
		Logging
	}
	file := writeFile(t, t.TempDir(), "c.yaml", []byte("list: [\"a,b\", c]\nattribute: {year: int64, \"t;t\": utf8}\ntext:\n"))
	if err := ReadConfig("test", &f, file); err != nil {
		t.Fatal(err)
	}
	if len(f.List) != 2 || f.List[0] != "a,b" || len(f.Attribute) != 2 || f.Attribute["year"] != "int64" || f.Attribute["t;t"] != "utf8" || f.Text != "as ever" {
		t.Errorf("read %q, %q, %q", f.List, f.Attribute, f.Text)
	}
}

// A text is what stands in the file, also where YAML would take it for a number or a time.
func TestFileTexts(t *testing.T) {
	var f struct {
		List          []string
		Attribute     map[string]string
		Name, Other   string
		KafkaPassword Secret
		At            time.Time
		Logging
	}
	file := writeFile(t, t.TempDir(), "c.yaml", []byte("list: [007, 1.10, 2026-11-28, *x]\nattribute: {010: 1e3}\nname: &x 2026-11-28\nother: *x\nkafka-password: 0123\nat: 2026-11-28T01:02:03Z\n"))
	if err := ReadConfig("test", &f, file); err == nil || !strings.Contains(err.Error(), "config file") {
		t.Errorf("an alias before its anchor: %v", err)
	}
	file = writeFile(t, t.TempDir(), "c.yaml", []byte("name: &x 2026-11-28\nlist: [007, 1.10, 2026-11-28, *x]\nattribute: {010: 1e3}\nother: *x\nkafka-password: 0123\nat: 2026-11-28T01:02:03Z\n"))
	if err := ReadConfig("test", &f, file); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %v %v %v %v %v", f.List, f.Attribute, f.Name, f.Other, string(f.KafkaPassword), f.At.Unix())
	if want := "[007 1.10 2026-11-28 2026-11-28] map[010:1e3] 2026-11-28 2026-11-28 0123 1795827723"; got != want {
		t.Errorf("read %s\nwant %s", got, want)
	}
}

// What a daemon would take for its default is refused with the name of the flag.
func TestZeroIsNoDefault(t *testing.T) {
	t.Setenv("ADASTREAM_STORE", "/store")
	t.Setenv("ADASTREAM_BROKERS", "a:1")
	for name, files := range map[string][]string{
		"query":    {"poll-every: 0", "max-running: 0", "timeout: 0s", "degrade-after: 0s", "timeout: -1s"},
		"builder":  {"publish-every: 0s", "min-train-rows: 0"},
		"ingestor": {"flush-age: 0s", "flush-rows: 0", "flush-bytes: -1"},
	} {
		for _, content := range files {
			flag, value, _ := strings.Cut(content, ": ")
			err := ReadConfig(name, daemons()[name](), writeFile(t, t.TempDir(), "c.yaml", []byte(content)))
			if want := fmt.Sprintf("--%s %s", flag, value); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "must be more than 0") {
				t.Errorf("%s with %s: %v", name, content, err)
			}
		}
	}
}

// A bound below 0 is none, and shared among shards it became 0, which is no bound at all.
func TestBoundsOfBytes(t *testing.T) {
	t.Setenv("ADASTREAM_STORE", "/store")
	for name, files := range map[string][]string{"query": {"cache-bytes: -1", "memory-bytes: -1"}, "builder": {"cache-bytes: -1"}} {
		for _, content := range files {
			want := "--" + strings.Replace(content, ": ", " ", 1) + ": must be positive, or 0 for no limit"
			if err := ReadConfig(name, daemons()[name](), writeFile(t, t.TempDir(), "c.yaml", []byte(content))); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s with %s: %v", name, content, err)
			}
		}
	}
	for _, c := range []struct {
		all  int64
		of   int
		want int64
	}{{0, 3, 0}, {2, 3, 1}, {7, 3, 2}, {7, 1, 7}, {7, 0, 7}} {
		if got := Share(c.all, c.of); got != c.want {
			t.Errorf("%d bytes among %d: %d each, want %d", c.all, c.of, got, c.want)
		}
	}
}
