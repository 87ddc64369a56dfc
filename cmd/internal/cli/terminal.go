package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Terminal is standard error where a person sees it, and nothing where it goes to a file or a log: for bars that move.
func Terminal() io.Writer {
	if seen() {
		return os.Stderr
	}
	return io.Discard
}

func seen() bool { return term.IsTerminal(int(os.Stderr.Fd())) }
