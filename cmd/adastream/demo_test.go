package main

import (
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
)

// The README's first command passes its own checks.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("some 15 s")
	}
	if err := (&demoCommand{Once: true, Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0"}).Run(t.Context(), &cli.Logging{LogFormat: "text"}); err != nil {
		t.Error(err)
	}
}
