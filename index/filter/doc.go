// Package filter restricts a search to rows whose attributes meet a condition.
//
// A filter is a JSON object in the dialect that MongoDB began and most vector stores speak:
//
//	{"lang": "en", "price": {"$gte": 10, "$lt": 20}, "$or": [{"stock": true}, {"brand": {"$in": ["a", "b"]}}]}
//
// Names are attributes of the spec. A name with a value means $eq; all that stands in one object must hold. [Parse] has the
// operators and what each accepts: a filter that could never mean anything, such as a number compared with a text, is an
// [Error] that says where it is and what is allowed, not an empty answer.
//
// A null, or an attribute that a message did not have, meets no comparison but "$eq": null. What negates, $ne, $nin, $not
// and "$exists": false, holds wherever its opposite does not, so for nulls too: each filter and its $not part the rows.
//
// A filter is applied in two steps, and a [Cache] keeps the results of both. First each part is read by columns, into a
// bitmap of the rows that match: parts are immutable, so that holds for every generation that has the part. Then the
// bitmaps become a [Selection] of one snapshot: without its dead rows, laid out as codes name rows, and counted by list, so
// that a search can decide how to go about it.
package filter
