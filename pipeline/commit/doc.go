// Package commit is the record of what became of the log: which offsets are in which objects, which objects are a
// generation, and which generation is served. It is the only code that knows the names of objects.
//
// # Names
//
//	index.json                                  the spec, written once
//	commits/<partition>/<start>                 what became of the offsets [start, end): the chain of a partition
//	segments/<partition>/<start>-<uuid>.arrow   upserts of one commit
//	tombstones/<partition>/<start>-<uuid>.arrow deletes of one commit
//	quarantine/<partition>/<start>-<uuid>.arrow what one commit refused
//	models/<sha256>-<uuid>.arrow                trained models
//	chunks/<sha256>-<uuid>.<file>.arrow         rows merged by the builder; file is rows, codes or vectors
//	segments/merged/<sha256>-<uuid>.arrow       segments joined by the builder
//	tombstones/merged/<sha256>-<uuid>.arrow     deletes joined by the builder
//	dead/<sha256>-<uuid>.arrow                  dead rows of a generation
//	manifests/0000/<generation>                 generations
//	pages/<sha256>-<uuid>.json                  parts of generations that are too many for a manifest
//	channels/stable/0000/<sequence>             which generation is served, or which epoch
//	collections/<number>                        what garbage collection decided
//	resolved/<partition>/<offset>/<row>/<n>     what becomes of a refused message or row: a line of its own
//	epochs/<name>/...                           another index, with all of these names: see [Log.Epoch]
//	shards/<shard>/...                          one shard, with all of these names but index.json and epochs/
//
// An index of one shard has everything where it says, and no shards/. Of one with several only index.json is there: each shard is
// an index by itself in a folder of its own, with the partitions p for which p mod shards is its number, and nothing that one
// of them does can touch another one. So all that follows is about one shard.
//
// Partitions beyond those of the topic are of bulk loads, if the spec has them: the log of one is the rows that a part of a load has in
// files, and all that follows holds for it. One load of a chain ends, with a record that says so, before another begins.
//
// Numbers are decimal, padded with zeros: partitions to 6 digits, shards to 4, rows to 10, all others to 20; the row of a
// message that was refused whole is the word message. So the order of keys is the order of numbers, and List(startAfter)
// finds what is new without reading what is old. Keys below these prefixes that are not exactly of this form are not ours
// and are passed over.
//
// # Pages
//
// A manifest names its first chunks, and its first segments, by pages if they are many. Whoever publishes names the pages of the
// parent again where their parts are still together, and stores others before the manifest; so a generation costs what is new in
// it. To the protocol a page is one more object that the manifest names, with R3 and G1 to G4: nothing else tells of it. Manifest
// and Latest return a generation as if all were in line, and remember pages; [Log.Record] does not read them.
//
// # Protocol
//
// The only primitive is put-if-absent of store.Bucket. A position of a partition is 0, and the end of every record that
// starts at a position. The head is the position at which no record starts yet.
//
//	R1  A record is created under the key that follows from what it succeeds, if that key is absent, and never changes.
//	R2  Append creates a commit only at a position, and Publish a manifest only right after an existing one.
//	R3  What a record names was stored before it, under a name that nothing else ever had or will have.
//	R4  A commit [start, end) tells the fate of every record of the log from start up to end, in the order of offsets.
//	R5  The builder folds a commit only if its start is the checkpoint of its partition, and moves the checkpoint to its
//	    end in the same manifest that names its data.
//	R6  Every record carries an id of its writer that no other record has, so two writers never put the same bytes.
//	R7  Append, Publish and Promote, and a collector before it deletes, read again what they have seen of the index: the record
//	    before, and the spec before the first one.
//
// R4 and R5 are the duties of the callers; the rest is enforced here. Then the following holds whoever crashes, sleeps or
// races, for any number of writers that believe they own a partition and builders that believe they are alone:
//
//	I1  The chain is a line. By induction over the records in the order of their creation: at first 0 is the only
//	    position and the head. A record created at a position p with end e > p makes e a position, and p was free (R1),
//	    so p was the head (every other position has its record) and e is the new one. No other key can be created (R2).
//	I2  Nothing is lost or doubled: the ranges of a chain are disjoint, and their union is [0, head). It follows from I1.
//	I3  Nothing is reordered: the order of the chain is the order of offsets, and watermarks never fall along it.
//	I4  An overtaken writer is harmless: its position is taken, so it gets a Conflict and nothing that it stored is named
//	    by any record. It goes on from the end of the record that it lost to.
//	I5  A lost answer is harmless: the store reads back and compares bytes, so nil means that this very record is there
//	    (R6), and where even that fails the error is ErrTransient, and the same call again finds out.
//	I6  The manifests are a line, by the argument of I1, and neither checkpoints nor watermarks fall from parent to child. With R5 every
//	    commit is in exactly one step of that line: each generation is exactly the log up to its checkpoint.
//	I7  Promotions are a line too: each is created under the number after the one that it was decided on. A promotion
//	    that was decided without knowledge of another one fails with ErrFenced instead of undoing it. So a pin holds
//	    against a builder that has not seen it yet, and of two operators one is told about the other.
//	I8  A listing that lags does not matter: it only suggests where to look. Holes in it are filled by reading the key, and
//	    an old head costs its writer a Conflict.
//	I9  An index that was removed, made anew in its place, or put back from an older copy is left alone by who worked on the
//	    one before: its next record would be in the middle of the other's line. It gets ErrReplaced (R7), unless it looked in the
//	    very moment before; who opens the index again is a writer like any. Create refuses records without a spec, which such
//	    a moment leaves.
//
// # Garbage
//
// Objects are garbage when nothing names them and nothing will. No clock and no lease tells, but the lines above do:
//
//	G1  A collector first lists the data objects (Find). Only these may go.
//	G2  Then it publishes a generation, or Fence does. Whoever put one of these objects for a later generation, and is not the
//	    collector, loaded an earlier one and is fenced by it; and it can never name the object again (R3). An object for a
//	    commit can only be named at the start that is in its name, which is over when the head is beyond.
//	G3  Then it puts the next record of collections/: the generation reached, which generations up to that one are kept, the
//	    promotion reached, and for each partition the checkpoint, before which commits may go. It looks at the channel once
//	    more: if that names a generation by now that is not kept, it removes nothing.
//	G4  Then it removes those of the listed objects that no kept generation and no commit after the checkpoint names, nor may
//	    name yet; and of the records the manifests that are not kept, promotions that builders made of these, and commits
//	    before the checkpoint but for the last one of each partition and those that tell of lost or refused messages.
//	G5  A freed key could be taken by a writer that slept since it looked. So Append, Publish and Promote look for
//	    collections after their put: if their key is before what one has reached, it was not free but collected, and the error
//	    wraps ErrFenced. What they put lies where nobody looks, and the next collection removes it. For that the record also
//	    says which commits stay for what they tell: one that is merely there may be of a writer that slept and died.
//
// G3 and G5 have each side write before it looks, so that of a promotion and a collection of the same generation at least one
// sees the other. Records of collections are never removed: they are the boundary below which an absent key means nothing.
// A collector that sleeps is harmless: what was garbage stays garbage. Readers hold no lease: query nodes have copies of what
// they serve, and whoever finds an object gone looks at the channel again.
//
// Where a chain has a hole or an overlap, or a record is not what its key says, somebody else wrote or deleted in the
// bucket: ErrCorrupt, with the key.
//
// # Errors
//
// Every error wraps schemas.ErrCorrupt, ErrFenced or ErrTransient, ErrReplaced, or the context's error, or else is a mistake in the call
// or in the rights on the store. The store tries each request a few times; nothing is tried again here. Callers back off after
// ErrTransient and repeat the call with the same arguments, which is safe for all of them. For Append and Publish that
// means the very same record: a copy with another writer id or time is another record.
package commit
