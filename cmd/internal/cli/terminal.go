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

// logTo is where the log goes: standard error, where on a terminal a record takes the line of a bar that is there, which comes again
// below it.
func logTo() io.Writer {
	if seen() {
		return overBar{os.Stderr}
	}
	return os.Stderr
}

type overBar struct{ io.Writer }

const eraseLine = "\r\x1b[K"

func (o overBar) Write(record []byte) (int, error) {
	n, err := o.Writer.Write(append([]byte(eraseLine), record...))
	return max(0, n-len(eraseLine)), err
}
