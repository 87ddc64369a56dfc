// Package snapshot is an opened generation: the parts that a manifest names, the model that assigned and encoded
// them, and the rows of them that are dead. Everything about it is immutable, so any number of queries read it at
// once; the one thing that changes is the count of who still does.
//
// # Lifetime
//
// Parts alias mapped files. Whoever opens a snapshot owns one reference and gives it up with [Snapshot.Close]; a
// reader takes another with [Snapshot.Acquire] and gives it up with [Snapshot.Release]. The function given to [Open]
// runs exactly once, when the snapshot is closed and the last reader is gone: that is when the files may be unmapped.
// A reader that finds a snapshot closed loads the current one again; a swap therefore needs no lock:
//
//	for {
//		s := current.Load()
//		if s.Acquire() {
//			defer s.Release()
//			return search(s)
//		}
//	}
//
// # Lists
//
// A list of the model is spread over chunks (merged rows, whose codes lie in blocks for the scan) and segments (fresh
// rows of one commit). The chunks are one base: a list's codes lie in one chunk and are of rows of any, which they name
// by their number in the base, see [Snapshot.Locate]. [Snapshot.Runs] tells for a list what is in it, without asking
// every part. Segments that
// another model assigned, or none, are in no list: [Snapshot.Unlisted] names them, and every query searches them whole.
package snapshot
