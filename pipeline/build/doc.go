// Package build turns commits into generations.
//
// A Builder follows the commit chains of all partitions and folds every commit exactly once: it takes a commit only
// when it starts at the partition's checkpoint, and the checkpoint is part of the manifest that it publishes next. What
// a crash loses is work, never data: the next builder begins at the last manifest.
//
// # What a generation is made of
//
// Deltas are the segments as ingestors wrote them, already assigned and encoded; a fresh one becomes searchable by a
// manifest alone. The base is a set of chunks sorted by list. Beside both lie the bitmaps of dead rows. Two kinds of
// background job keep that small, on inputs that they do not share:
//
//   - compaction joins many small segments into one, and re-encodes those of an older model;
//   - a rewrite merges everything into new chunks, when deltas or dead rows are more than a quarter of the base. When
//     the index has outgrown its model, the rewrite trains a new one first. It ends by measuring recall, and with the
//     verdict of the gate: docs/quality.md.
//
// Folding and publishing go on while jobs run. A job's result lands in one step: rows that were replaced or deleted
// meanwhile are dead in the new part from its first generation on.
//
// # Invariants
//
//  1. An id is live in at most one row of a generation, and that row is the last of its versions by segment.Order
//     among all offsets before the checkpoint. It does not depend on the order in which commits are folded, on what was
//     merged, or on restarts.
//  2. A manifest names only objects that are in the store.
//  3. A generation that the gate finds fault with, and those that only add deltas to it, are published but not promoted,
//     unless an operator overrides that; and none is while the channel is pinned.
package build
