package main

import (
	"context"
	"net/http"

	"github.com/adastream/adastream/cmd/internal/cli"
)

// opsPort is the ops port of a command that has one if it is asked for.
type opsPort struct{ port *cli.Ops }

// openOps opens none for no address.
func openOps(ctx context.Context, address string) (opsPort, error) {
	if address == "" {
		return opsPort{}, nil
	}
	port, err := cli.OpenOps(ctx, address)
	return opsPort{port}, err
}

// Waiting says what the command waits for.
func (o opsPort) Waiting(reason error) {
	if o.port != nil {
		o.port.Waiting(reason)
	}
}

// Use takes over with the pages of the command.
func (o opsPort) Use(pages http.Handler) {
	if o.port != nil {
		o.port.Use(pages)
	}
}

// Close ends it.
func (o opsPort) Close() {
	if o.port != nil {
		o.port.Close()
	}
}
