// Package search answers a query from a snapshot: probe, scan, refine, top k.
//
//	query ─ normalise, ┬─ Probe ──► the nprobe lists with the best coarse score
//	        rotate     ├─ LUT ────► one table for all lists
//	                   └─ int16 ──► the query of the refine step
//	list ─┬─ runs in chunks ── ScanPQ4 over 4-bit codes ──► reservoir of approximate scores ─┐ best Refine
//	      └─ runs in segments ───────────────────────────► int8 rows ─┐                     │ of them
//	unlisted segments ───────────────────────────────────► int8 rows ─┴─► top k ◄─ int8 rows ┘
//	                                                                        ▲
//	                     if the plan says so, originals of what may be in it ┘
//
// The score of a code is base + bias + scale*sum, where base belongs to the list, bias and scale to the query and sum
// is what the kernel adds up. The worst score that can still matter is therefore turned into a threshold on sum for
// each list, and the kernel drops whatever is below: that is nearly everything once the reservoir has been full.
//
// # What holds
//
//   - Every hit is scored on its int8 row, or the prefix of it that the plan allows, with the same arithmetic whatever way it
//     came. Where originals decide, which an exact search has them do and a plan may, hits are scored as package exact does, and
//     no row that was scored on int8 is left out that belongs among the best. Hits are ordered by
//     score, equal scores by ascending id, so an exact answer depends on the rows alone: not on how they are spread
//     over parts, and not on the level of the kernels.
//   - A row that is dead never comes. Live rows of a snapshot have distinct ids, so no id comes twice.
//   - A row is in two lists, and may be met in both. Its codes are both scanned, and refine takes it once; a row of a
//     segment is passed over in its second list if the first is probed. So no row is scored twice.
//   - There are min(k, live rows) hits. If the lists of a plan hold fewer, more are probed, in the end all.
//   - A [Searcher] in steady state allocates nothing but what the caller's slice of hits lacks.
package search
