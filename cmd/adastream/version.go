package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/adastream/adastream/cmd/internal/cli"
)

type versionCommand struct {
	JSON bool `help:"Print it as JSON."`
}

func (c *versionCommand) Run() error { return c.write(os.Stdout) }

func (c *versionCommand) write(w io.Writer) error {
	v, err := cli.ThisVersion()
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(w).Encode(v)
	}
	return v.Print(w, "adastream")
}
