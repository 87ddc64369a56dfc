package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRegistry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := (Registry{}).Client(); c != nil || err != nil {
		t.Errorf("without flags: %v, %v", c, err)
	}
	if c, err := (Registry{SchemaRegistry: "https://registry:8081", SchemaRegistryUser: "ada", SchemaRegistryPasswordFile: file}).Client(); c == nil || err != nil {
		t.Errorf("with all flags: %v, %v", c, err)
	}
	for want, r := range map[string]Registry{
		"need --schema-registry":                         {SchemaRegistryUser: "ada"},
		"--schema-registry-password: needs":              {SchemaRegistry: "http://r", SchemaRegistryPassword: "x"},
		"set only one of them":                           {SchemaRegistry: "http://r", SchemaRegistryUser: "ada", SchemaRegistryPassword: "x", SchemaRegistryPasswordFile: file},
		`--schema-registry: schema registry: "registry"`: {SchemaRegistry: "registry"},
		"holds no PEM certificate":                       {SchemaRegistry: "http://r", SchemaRegistryCA: file},
	} {
		if _, err := r.Client(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
