// Package fanout answers queries to an index of several shards: it asks a node of each shard, one of this process or a peer, and
// merges what they find.
//
// A row is in one shard, so the k best of all are among the k best of each, and merging loses nothing. Each shard is answered from
// one generation; which ones those are the answer says. An answer is of all shards or it is an error: where no node of a shard
// answers, nothing is left out in silence.
//
// Answers are merged in the form that is wanted, JSON or Arrow: nodes are asked for the same. What an Arrow stream of a peer claims is
// believed, as far as its library does: peers are nodes of the same fleet.
//
// The nodes of single shards are reached below /v1/shards/{shard}/, with the API that a node of a whole index has. A request to a
// peer carries the caller's Authorization header, since the nodes of a fleet know the same tokens, and in the header IndexHeader which index is
// meant: a peer of another one refuses it.
package fanout
