// Package client asks query nodes of Adastream.
//
// A [Client] knows one address: a node, or a load balancer before several. Any node answers any request, each answer is of one
// generation, and says which; [Freshness] asks for one that has what was written. Requests only read, so that whatever failed on
// the way is tried again, as are nodes that are overloaded or not ready: after a pause that grows, at least as long as the node
// says, up to a number of attempts. What a node refuses is a [*Problem] with a stable code and what would be allowed.
//
// [Client.Search] asks one query with all options, in JSON. [Client.SearchBatch] asks up to 1000 as one Arrow stream, the fastest
// form, and hands out hits as columns.
//
// schemas/openapi.yaml describes each field; the types here have its names.
package client
