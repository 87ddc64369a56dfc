// Package ingest turns the messages of a topic into commits: fetch, decode, assign and encode, segment, commit.
//
// # How a partition is worked
//
// The chain of commits in the store says where a partition stands; Kafka's own offsets are written for dashboards and
// never read. From the end of the chain the ingestor fetches, decodes, and cuts what it has whenever it is enough rows,
// enough bytes or old enough, or all that there is and the last cut is old enough. A cut writes the objects of its range of offsets and then puts one commit record under
// the key that is its start. That put is the only moment at which anything happens.
//
// # Invariants
//
//  1. Every offset of a partition is in exactly one commit of its chain, whatever crashed and however many ingestors
//     believed to own it. The loser of a race for a key drops its work and goes on from the winner's end.
//  2. What a fold of the chain yields does not depend on where ranges were cut: the order of a row is made of the
//     record and of the largest timestamp before it in the chain.
//  3. Nothing is dropped in silence. A row that cannot be indexed is quarantined with its reason and its bytes, and its
//     neighbours go on; a message that cannot be read is quarantined whole.
//  4. Bytes from the topic are hostile until package schemas/arrowguard has passed them: they can make no part of this package panic, or
//     allocate more than the [Limits] say.
//  5. A partition whose log and chain contradict each other stops, with an error that names the offsets; the others go
//     on. So does one of which nearly all is refused, with an error that says why.
//
// # Memory
//
// A partition holds at most FlushBytes of decoded rows and what the last message and fetch brought beyond that; while a
// cut is written, its segment is held beside them. With many partitions FlushBytes shrinks so that all of them together
// stay within MaxBuffered; see [Options].
package ingest
