package main

import (
	"fmt"
	"os"

	"github.com/adastream/adastream/cmd/internal/cli"
)

type completionCommand struct {
	Shell string `arg:"" help:"bash, or zsh, which reads what bash does." enum:"bash,zsh"`
}

func (c *completionCommand) Run() error {
	if c.Shell == "zsh" {
		fmt.Println("autoload -U +X compinit && compinit && autoload -U +X bashcompinit && bashcompinit")
	}
	if err := cli.WriteCompletion(os.Stdout, "adastream", &command{}); err != nil {
		return err
	}
	for _, program := range []string{"query", "builder", "ingestor"} {
		if err := cli.WriteCompletion(os.Stdout, program, daemon{program}.flags()); err != nil {
			return err
		}
	}
	return nil
}
