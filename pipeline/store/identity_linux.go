package store

import (
	"io/fs"
	"syscall"
)

// identityOf is what tells that a file is still the one it was, and that nobody has written to it since: ok if the file system
// knows of it.
func identityOf(info fs.FileInfo) (id fileIdentity, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileIdentity{}, false
	}
	return fileIdentity{Inode: s.Ino, Size: s.Size, Written: s.Mtim.Nano(), Changed: s.Ctim.Nano()}, true
}
