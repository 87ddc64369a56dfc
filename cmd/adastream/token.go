package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/access"
)

type tokenCommand struct {
	New tokenNewCommand `cmd:"" help:"Make a token, show it once, and the line that stands for it in a tokens file."`
}

type tokenNewCommand struct {
	Name       string         `arg:"" help:"Who will use it: letters, digits, dots, dashes and underscores. Logs and metrics show it."`
	Scope      []access.Scope `help:"What it is good for: search, admin, metrics." required:"" enum:"search,admin,metrics"`
	Rate       float64        `help:"Most requests a second, 0 for no limit." default:"0"`
	Burst      int            `help:"Most requests at once after a pause; 0 is a second's worth." default:"0"`
	Concurrent int            `help:"Most requests at a time, 0 for no limit." default:"0"`
	TokensFile string         `help:"Add the line to this file, which is made if it is missing, and print the token alone." type:"path" placeholder:"FILE" env:"-"`
	JSON       bool           `help:"Print token and line as JSON."`
}

func (c *tokenNewCommand) Run() error {
	token, line, err := access.NewToken(access.Token{Name: c.Name, Scopes: c.Scope, Rate: c.Rate, Burst: c.Burst, Concurrent: c.Concurrent})
	if err != nil {
		return cli.Usage(err)
	}
	if c.TokensFile != "" {
		if err := addLine(c.TokensFile, line); err != nil {
			return err
		}
	}
	switch {
	case c.JSON:
		return json.NewEncoder(os.Stdout).Encode(map[string]string{"token": token, "line": line})
	case c.TokensFile != "":
		fmt.Println(token)
	default:
		fmt.Printf("token, shown this once:\n  %s\nline for the tokens file:\n  %s\n", token, line)
	}
	return nil
}

// addLine replaces a tokens file by one with a line more, at once: a node may read it at any time. A file that would not be read
// stays as it was.
func addLine(path, line string) (err error) {
	before, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	text := string(before)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	mode := os.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tokens-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.WriteString(text + line + "\n"); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if _, err := access.OpenTokens(f.Name()); err != nil {
		return cli.Usage(fmt.Errorf("%s would not be read any more: %w", path, err))
	}
	return os.Rename(f.Name(), path)
}
