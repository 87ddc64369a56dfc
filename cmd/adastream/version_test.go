package main

import (
	"strings"
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
)

func TestVersionJSON(t *testing.T) {
	var got cli.Version
	var out strings.Builder
	if err := (&versionCommand{JSON: true}).write(&out); err != nil {
		t.Fatal(err)
	}
	read(t, out.String(), &got)
	if got.Build != cli.ThisBuild() || got.SIMD == "" || len(got.Formats) == 0 {
		t.Errorf("%+v", got)
	}
}
