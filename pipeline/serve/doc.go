// Package serve answers queries from the generation that a channel points at.
//
// A Node follows the channel, and if that names an epoch, the epoch's own one. For a new generation it fetches the objects
// that it lacks, verifies and maps them, opens a snapshot and swaps one atomic pointer. A query takes a reference of the
// snapshot that it finds and keeps it to its end, so it sees one generation, and none fails because of a swap: the old
// snapshot is unmapped when its last query has ended. The spec is the snapshot's: width, attributes and encoder of the
// queries that are answered change with the rows, at once. If anything about the new generation is missing or corrupt, the
// old one goes on serving and the node says so in its log, in /readyz and in adastream_query_load_failures_total.
//
// A search request has one query or many, in JSON or Arrow, and its answer has either form:
//
//	request ── readJSON or readArrow ──► options, queries [n][D] that fit ── answer ──► hits ── json or arrow ──► response
//	                                                       │
//	                  slots ── run ── SearchBatch in each of the workers, on one snapshot
//
// By file, in the order in which things happen to them:
//
//	generations  node follows and swaps; memory, behind, near, recent: is there room, how late is it, what is a swap, which were there
//	requests     api routes them; request_json, request_arrow and stream read them, problem says no
//	searches     search is the course of one; fresh waits, choose makes the plan, run and pressure share out cores, group groups
//	answers      answer, answer_arrow; vectors for rows that are asked for by id
//	quality      live measures a few answers, measure what POST /v1/recall asks for
//	what is told state to clients, view to package ui, ops, metrics and trace to machines; admin moves the channel
//
// Each request holds one of Options.MaxRunning slots while it is searched and encoded; one of many queries works on slots
// that are free as well. Bodies are untrusted: their size is bounded, and reading them allocates in proportion to it.
//
// A few answers are measured while the node serves: the same query, exactly, on the same snapshot. It is one goroutine with
// a share of a core, and no query waits for it. See docs/quality.md.
//
// The query API (Node.API) and what machines ask of a daemon (Node.Ops) are two handlers, for two ports. Package ui puts pages for
// people in front of the first.
package serve
