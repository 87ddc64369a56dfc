package cli

import "github.com/KimMachineGun/automemlimit/memlimit"

// Memory is how many bytes this process may use: the limit of its container or the memory of the machine, whichever is less; 0 if
// neither can be told.
func Memory() int64 {
	var least uint64
	for _, tell := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if bytes, err := tell(); err == nil && (least == 0 || bytes < least) {
			least = bytes
		}
	}
	return int64(least)
}
