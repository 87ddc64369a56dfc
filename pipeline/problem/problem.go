// Package problem is the form in which the query API says no: RFC 9457 documents with a stable code.
package problem

import (
	"encoding/json"
	"net/http"
)

// Problem says what is wrong and, where it makes sense, what is allowed. schemas/openapi.yaml has its codes.
type Problem struct {
	Type    string `json:"type"` // set by Write
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    string `json:"code"`
	Allowed string `json:"allowed,omitempty"`

	Snapshot any `json:"snapshot,omitempty"` // what is there, if it is not fresh enough
}

// StatusGone is that of requests whose client went away before the answer, which only logs, metrics and nodes that asked others see.
const StatusGone = 499

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// Write answers with a copy: some problems are shared. Where the request may be sent again it says when, in a second unless the
// header says otherwise already.
func (p Problem) Write(w http.ResponseWriter) {
	p.Type = "urn:adastream:problem:" + p.Code
	h := w.Header()
	switch p.Status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "1")
		}
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(&p) // the client is gone if this fails
}
