package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// Codes of problems beside those of queries.
const (
	codeConflict  = "conflict"   // what was asked for does not fit what is served, or somebody was first
	codeMediaType = "media_type" // a body of another type
	codeForbidden = "forbidden"  // a page of another origin asks
)

// operator is the token's name@host for the record, as the CLI has user@host.
func operator(ctx context.Context) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("who is acting: %w", err)
	}
	return cmp.Or(access.Caller(ctx), "admin") + "@" + host, nil
}

type movedAnswer struct {
	Serving *schemas.Channel `json:"serving"`          // the record that was made
	Before  *schemas.Channel `json:"before,omitempty"` // the one before; absent if it is the first
	Against string           `json:"against,omitempty"`
}

// moveChannel answers POST /v1/admin/channel: what `adastream snapshot promote`, pin, unpin and rollback do.
func (n *Node) moveChannel(r *http.Request) (*response, error) {
	if err := new(http.CrossOriginProtection).Check(r); err != nil { // what a page of another origin makes a browser send
		return nil, &problem{Title: "forbidden", Status: http.StatusForbidden, Code: codeForbidden, Detail: err.Error(), Allowed: "a request of the same origin, or of no browser"}
	}
	if !isType(r.Header.Get("Content-Type"), jsonType) { // forms of other sites have other types
		return nil, &problem{Title: "unsupported media type", Status: http.StatusUnsupportedMediaType, Code: codeMediaType,
			Detail: fmt.Sprintf("Content-Type: %.100q", r.Header.Get("Content-Type")), Allowed: jsonType}
	}
	var m commit.Move
	if err := decodeBody(r, &m); err != nil {
		return nil, err
	}
	var err error
	if m.By, err = operator(r.Context()); err != nil {
		return nil, err
	}
	moved, err := n.log.Load().Move(r.Context(), m)
	if err != nil {
		return nil, moveProblem(err)
	}
	n.o.Logger.Info("the channel was moved", "audit", true, "by", m.By, "verb", m.Verb, "serving", moved.Made)
	a := movedAnswer{Serving: moved.Made, Before: moved.Before}
	if q := moved.Manifest.Quality; q != nil && !q.Promoted {
		a.Against = q.Reason
	}
	return jsonResponse(a)
}

func moveProblem(err error) error {
	var bad *commit.MoveError
	switch {
	case errors.As(err, &bad):
		return invalid(bad.Err.Error(), bad.Allowed)
	case errors.Is(err, schemas.ErrFenced):
		return &problem{Title: "somebody was first", Status: http.StatusConflict, Code: codeConflict, Detail: err.Error()}
	case errors.Is(err, schemas.ErrTransient):
		return &problem{Title: "the store cannot be asked", Status: http.StatusServiceUnavailable, Code: codeStore, Detail: err.Error()}
	}
	return err
}
