package main

import (
	"fmt"
	"os"

	"github.com/adastream/adastream/cmd/internal/cli"
)

type completionCommand struct {
	Shell string `arg:"" help:"bash, zsh or fish. zsh uses the script of bash." enum:"bash,fish,zsh"`
}

func (c *completionCommand) Run() error {
	write := cli.WriteCompletion
	switch c.Shell {
	case "fish":
		write = cli.WriteFishCompletion
	case "zsh":
		fmt.Println("autoload -U +X compinit && compinit && autoload -U +X bashcompinit && bashcompinit")
	}
	if err := write(os.Stdout, "adastream", &command{}); err != nil {
		return err
	}
	for _, program := range []string{"query", "builder", "ingestor"} {
		if err := write(os.Stdout, program, daemon{program}.flags()); err != nil {
			return err
		}
	}
	return nil
}
