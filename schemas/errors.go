package schemas

import "errors"

// The classes of error. Every error of Adastream that a caller must tell apart wraps exactly one of them; an error
// that wraps none is a mistake in the call or the configuration, and its text names the field and what is allowed.
var (
	// ErrCorrupt: bytes are not what their checksum or format says. Never retried; the text names the object.
	ErrCorrupt = errors.New("corrupt")
	// ErrFenced: another writer has taken the place. The work at hand is dropped and begun again from what is there.
	ErrFenced = errors.New("fenced")
	// ErrTransient: the broker or the store may answer differently later. Retried with back-off.
	ErrTransient = errors.New("transient")
)

// A bad record, the fourth class, is not an error of the program: it is quarantined with one of the Reason constants
// and its neighbours go on.
