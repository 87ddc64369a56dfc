package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/access"
)

type tokenCommand struct {
	New tokenNewCommand `cmd:"" help:"Create a token. Prints it once, with the line for the tokens file."`
}

type tokenNewCommand struct {
	Name       string         `arg:"" help:"Who will use it: letters, digits, dots, dashes and underscores. Appears in logs and metrics."`
	Scope      []access.Scope `help:"What it allows: search, admin, metrics." required:"" enum:"search,admin,metrics"`
	Rate       float64        `help:"Maximum requests per second. 0 is unlimited." default:"0"`
	Burst      int            `help:"Maximum burst of requests after a pause. 0 is one second's worth of --rate." default:"0"`
	Concurrent int            `help:"Maximum concurrent requests. 0 is unlimited." default:"0"`
	TokensFile string         `help:"Add the line to this file, created if missing, and print only the token." type:"path" placeholder:"FILE" env:"-"`
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
// stays as it was. Of several that do so at a time one goes after the other.
func addLine(path, line string) (err error) {
	f, err := onlyNew(path + ".new")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := fill(f, path, line); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if _, err := access.OpenTokens(f.Name()); err != nil {
		return cli.Usage(fmt.Errorf("%s would not be read any more: %w", path, err))
	}
	return os.Rename(f.Name(), path)
}

// newWait is how long another process that adds a line is waited for, which takes it milliseconds.
const newWait = 5 * time.Second

// onlyNew makes a file that is there for one process at a time.
func onlyNew(name string) (*os.File, error) {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		if time.Since(begun) > newWait {
			return nil, fmt.Errorf("%s: another process has been adding a token for %v: remove the file if there is none any more", name, newWait)
		}
	}
}

// fill writes to f what is in the file at path, and a line more, for the same people to read.
func fill(f *os.File, path, line string) error {
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
	_, err = f.WriteString(text + line + "\n")
	return errors.Join(err, f.Chmod(mode))
}
