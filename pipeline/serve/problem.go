package serve

import (
	"net/http"

	problems "github.com/adastream/adastream/pipeline/problem"
)

// problem is an answer that says what is wrong.
type problem = problems.Problem

const statusGone = problems.StatusGone

// Codes of problems.
const (
	codeMalformed  = "malformed"   // not the JSON document or Arrow stream that is expected
	codeInvalid    = "invalid"     // a field has a value that is not allowed
	codeEncoder    = "encoder"     // the queries are of another encoder than the rows
	codeNotFresh   = "not_fresh"   // what is served is older than the request allows
	codeNotFound   = "not_found"   // no live row has that id
	codeTooLarge   = "too_large"   // the body is over the limit
	codeStore      = "store"       // the store could not be asked
	codeNotReady   = "not_ready"   // no generation is loaded yet
	codeOverloaded = "overloaded"  // no place became free in time
	codeTimeout    = "timeout"     // the query was given up
	codeInternal   = "internal"    // a fault of the node; its log says more
	codeMethod     = "bad_method"  // the path knows other methods
	codeNoRoute    = "no_such_url" // there is no such path
)

func invalid(detail, allowed string) *problem {
	return &problem{Title: "a field has a value that is not allowed", Status: http.StatusBadRequest, Code: codeInvalid, Detail: detail, Allowed: allowed}
}

func malformed(detail, allowed string) *problem {
	return &problem{Title: "malformed request", Status: http.StatusBadRequest, Code: codeMalformed, Detail: detail, Allowed: allowed}
}
