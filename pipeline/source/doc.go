// Package source is Adastream's view of Kafka: one topic, its partitions and
// their offsets, explicit fetches, group membership for spreading the work, and
// a small producer.
//
// The idea: offsets are ours. The ingestor keeps its position in the commit
// chain of the bucket and asks for exactly the offset that comes next, so this
// package never lets a broker or a library choose a position. Kafka's consumer
// group only says who works on which partition; its committed offsets are
// advisory and feed lag dashboards.
//
// Invariants of [Client.Fetch], which everything downstream rests on:
//
//   - every committed record of [offset, Next) is in Records, once, in order:
//     nothing is skipped in silence, nothing below offset is repeated;
//   - records of aborted or still open transactions and transaction markers are
//     never in Records, but Next moves past the finished ones;
//   - an offset that the log does not hold is an [*OffsetError], never a jump to
//     the nearest offset that it does hold;
//   - a call that makes no progress (Next == offset) took about maxWait, so a
//     loop around Fetch cannot spin.
//
// The library underneath is kafka-go, of which only the layers that keep those
// promises are used: Transport.RoundTrip with raw fetch responses, ConsumerGroup
// and Writer. Its Reader skips ranges lost to retention without an error, and
// its Client.Fetch returns aborted records and cannot advance past a trailing
// transaction marker; the tests of this package hold each of these traps.
//
// Record batches must be in format v2 (Kafka 0.11 and later).
package source
