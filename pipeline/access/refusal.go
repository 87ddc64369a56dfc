package access

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Reasons of refusals, as a metric's label has them.
const (
	byIdentity    = "unauthenticated"
	byScope       = "forbidden"
	byRate        = "rate"
	byConcurrency = "concurrency"
	byEncoding    = "encoding"
)

// refusal is a problem document, RFC 9457, as the other answers of the API have it.
type refusal struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    string `json:"code"`
	Allowed string `json:"allowed,omitempty"`

	reason     string
	challenges []string
	retry      time.Duration
}

func unauthenticated(scope Scope, detail string) *refusal {
	f := &refusal{Title: "who are you", Status: http.StatusUnauthorized, Code: "unauthenticated", Detail: detail, reason: byIdentity,
		Allowed: "Authorization: Bearer TOKEN", challenges: []string{`Bearer realm="adastream"`}}
	if scope != Admin {
		f.Allowed += ", or a password that is the token"
		f.challenges = append(f.challenges, `Basic realm="adastream", charset="UTF-8"`)
	}
	return f
}

func forbidden(detail, allowed string) *refusal {
	return &refusal{Title: "not allowed", Status: http.StatusForbidden, Code: "forbidden", Detail: detail, Allowed: allowed, reason: byScope}
}

// encoded refuses bodies that would have to be decompressed: handlers read what they get, and what a small one becomes has no bound.
func encoded(coding string) *refusal {
	return &refusal{Title: "the body is encoded", Status: http.StatusUnsupportedMediaType, Code: "encoded", Detail: fmt.Sprintf("Content-Encoding: %.50q", coding),
		Allowed: "bodies as they are; Arrow is the small form", reason: byEncoding}
}

func tooMany(reason, detail, allowed string, retry time.Duration) *refusal {
	return &refusal{Title: "too many requests of one token", Status: http.StatusTooManyRequests, Code: "rate_limited", Detail: detail, Allowed: allowed,
		reason: reason, retry: retry}
}

func (f *refusal) write(w http.ResponseWriter) {
	f.Type = "urn:adastream:problem:" + f.Code
	h := w.Header()
	for _, c := range f.challenges {
		h.Add("WWW-Authenticate", c)
	}
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds(f.retry)))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(f) // the client is gone if this fails
}
