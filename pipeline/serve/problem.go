package serve

import (
	"encoding/json"
	"net/http"
)

// problem is an answer that says what is wrong: RFC 9457, with a stable code and, where it makes sense, what is allowed.
type problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    string `json:"code"`
	Allowed string `json:"allowed,omitempty"`

	Snapshot *snapshotInfo `json:"snapshot,omitempty"` // what is there, if it is not fresh enough
}

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

func (p *problem) Error() string { return p.Detail }

func invalid(detail, allowed string) *problem {
	return &problem{Title: "a field has a value that is not allowed", Status: http.StatusBadRequest, Code: codeInvalid, Detail: detail, Allowed: allowed}
}

func malformed(detail, allowed string) *problem {
	return &problem{Title: "malformed request", Status: http.StatusBadRequest, Code: codeMalformed, Detail: detail, Allowed: allowed}
}

// write takes a copy: some problems are shared.
func (p problem) write(w http.ResponseWriter) {
	p.Type = "urn:adastream:problem:" + p.Code
	switch p.Status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(&p) // the client is gone if this fails
}
