package cli

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

const hidden = "(hidden)"

// Secret is a flag that shows itself nowhere: not in text, whichever verb prints it, nor as JSON or YAML, nor in a log.
type Secret string

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// Format implements fmt.Formatter, for the verbs that ask neither of those.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText implements encoding.TextMarshaler, which JSON and YAML ask.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// secretOf reads a file that has a secret; a line end at its end does not count.
func secretOf(flag, path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}
