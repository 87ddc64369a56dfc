package access

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/adastream/adastream/pipeline/problem"
)

// Reasons of refusals, as a metric's label has them.
const (
	byIdentity    = "unauthenticated"
	byScope       = "forbidden"
	byRate        = "rate"
	byConcurrency = "concurrency"
	byEncoding    = "encoding"
)

// refusal is a problem, why, and what the answer says beside it.
type refusal struct {
	problem.Problem
	reason     string
	challenges []string
	retry      time.Duration
}

func unauthenticated(scope Scope, detail string) *refusal {
	f := &refusal{reason: byIdentity, challenges: []string{`Bearer realm="adastream"`}, Problem: problem.Problem{
		Title: "who are you", Status: http.StatusUnauthorized, Code: "unauthenticated", Detail: detail, Allowed: "Authorization: Bearer TOKEN"}}
	if scope != Admin {
		f.Allowed += ", or a password that is the token"
		f.challenges = append(f.challenges, `Basic realm="adastream", charset="UTF-8"`)
	}
	return f
}

func forbidden(detail, allowed string) *refusal {
	return &refusal{reason: byScope, Problem: problem.Problem{
		Title: "not allowed", Status: http.StatusForbidden, Code: "forbidden", Detail: detail, Allowed: allowed}}
}

// encoded refuses bodies that would have to be decompressed: handlers read what they get, and what a small one becomes has no bound.
func encoded(coding string) *refusal {
	return &refusal{reason: byEncoding, Problem: problem.Problem{Title: "the body is encoded", Status: http.StatusUnsupportedMediaType, Code: "encoded",
		Detail: fmt.Sprintf("Content-Encoding: %.50q", coding), Allowed: "bodies as they are; Arrow is the small form"}}
}

func tooMany(reason, detail, allowed string, retry time.Duration) *refusal {
	return &refusal{reason: reason, retry: retry, Problem: problem.Problem{
		Title: "too many requests of one token", Status: http.StatusTooManyRequests, Code: "rate_limited", Detail: detail, Allowed: allowed}}
}

func (f *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	for _, c := range f.challenges {
		h.Add("WWW-Authenticate", c)
	}
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds(f.retry)))
	}
	h.Set("Cache-Control", "no-store")
	f.Write(w)
}
