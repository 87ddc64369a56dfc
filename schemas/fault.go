package schemas

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Fault says why a message or a row cannot be indexed. It is no error of the program: what it is about is quarantined
// and its neighbours go on.
type Fault struct {
	Reason string // one of the Reason constants
	Detail string // one sentence with the field, the value and what is allowed; valid UTF-8
}

// MaxDetail is the longest detail, in bytes: names and values in it come from the message and may be of any length.
const MaxDetail = 512

// Error is reason and detail.
func (f *Fault) Error() string { return f.Reason + ": " + f.Detail }

// Faultf makes a fault of a reason, with the detail clipped to what one may have.
func Faultf(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Detail: clip(fmt.Sprintf(format, args...))}
}

// clip makes s fit for a detail.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= MaxDetail {
		return s
	}
	const mark = "..."
	end := MaxDetail - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
