// Package ui is the page that operators keep open, at /ui in front of the query API of a node: overview, snapshots, search,
// quarantine. Pages are made here, by html/template, with charts as SVG; scripts refresh them, draw the live charts, and ask
// /v1/search and /v1/admin/channel of the same origin. Everything comes from the binary: no other host is asked.
//
// What a page shows of the node itself it reads in memory, see [serve.Node.View] and the samples that Run takes. What it reads
// from the store is bounded and shared by all who look, however many:
//
//	overview     every 5 s at most: the channel, the newest generation, which ones are kept, and for the first 32 partitions one
//	             listing and one record
//	snapshots    the same, and the manifests of 21 generations, of which 64 are remembered; for older ones the collection
//	one, diff    the collection and the manifest of one or two
//	quarantine   every 10 s at most for each choice, of which 16 are remembered: of the first 32 partitions, or of one, the 20 newest
//	             commits that refused something, and the objects of the newest of them up to 4 MiB together; of 30 samples what
//	             became of them; two choices at a time
//
// The store has 3 s to answer; if it does not, pages show what they knew and say so. Nobody who looks waits for the store twice
// within those times.
package ui
