package main

import (
	"fmt"
	"os"

	"github.com/adastream/adastream/cmd/internal/cli"
)

type configCommand struct {
	Print  configPrintCommand  `cmd:"" help:"Print the configuration that a daemon would run with, as a file that it can read. The environment overrides the file, and the file the defaults."`
	Check  configCheckCommand  `cmd:"" help:"Check a configuration file and list its faults. The exit code is 2 if there are any."`
	Schema configSchemaCommand `cmd:"" help:"Print the JSON Schema of a daemon's configuration file, for editors."`
}

// daemon is which program a file is for.
type daemon struct {
	For string `help:"Daemon: query, builder, ingestor, standalone or events (adastream snapshot events)." required:"" enum:"query,builder,ingestor,standalone,events" env:"-" placeholder:"PROGRAM"`
}

func (d daemon) flags() any {
	switch d.For {
	case "query":
		return &cli.Query{}
	case "builder":
		return &cli.Builder{}
	case "ingestor":
		return &cli.Ingestor{}
	case "events":
		return &struct {
			snapshotEventsCommand
			cli.Logging `group:"Log and configuration:"`
		}{}
	default:
		return &struct {
			standaloneCommand
			cli.Logging `group:"Log and configuration:"`
		}{}
	}
}

type configPrintCommand struct {
	daemon
	File string `arg:"" optional:"" help:"YAML file of flags by name." type:"existingfile"`
}

func (c *configPrintCommand) Run() error { return cli.PrintConfig(os.Stdout, c.For, c.flags(), c.File) }

type configCheckCommand struct {
	daemon
	File string `arg:"" help:"YAML file of flags by name." type:"existingfile"`
}

func (c *configCheckCommand) Run() error {
	if err := cli.ReadConfig(c.For, c.flags(), c.File); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}

type configSchemaCommand struct{ daemon }

func (c *configSchemaCommand) Run() error {
	schema, err := cli.Schema(c.For, c.flags())
	if err != nil {
		return err
	}
	fmt.Println(string(schema))
	return nil
}
