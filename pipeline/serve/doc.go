// Package serve answers queries from the generation that a channel points at.
//
// A Node follows the channel. For a new generation it fetches the objects that it lacks, verifies and maps them, opens a
// snapshot and swaps one atomic pointer. A query takes a reference of the snapshot that it finds and keeps it to its
// end, so it sees one generation, and none fails because of a swap: the old snapshot is unmapped when its last query has
// ended. If anything about the new generation is missing or corrupt, the old one goes on serving and the node says so
// in its log, in /readyz and in adastream_query_load_failures_total.
//
// The query API (Node.API) and the operator's pages (Node.Ops) are two handlers, for two ports.
package serve
