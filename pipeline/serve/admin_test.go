package serve

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adastream/adastream/pipeline/access"
)

// move posts an administrator's verb.
func move(api http.Handler, body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/v1/admin/channel", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return w
}

func TestAdminMovesTheChannel(t *testing.T) {
	p := newPublisher(t)
	n := p.node(Options{Admin: true})
	p.add(0, 10)
	p.add(10, 20)
	p.await(n, 2)
	token, line, err := access.NewToken(access.Token{Name: "ann", Scopes: []access.Scope{access.Admin}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := access.OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	api := access.New(access.Options{Tokens: tokens}).Protect(n.API(), access.APIScope)
	for _, step := range []struct {
		body string
		want string // in the record
	}{
		{`{"verb":"pin","reason":"look"}`, `"generation":2,"pinned":true,"reason":"look","by":"ann@`},
		{`{"verb":"unpin","reason":"looked"}`, `"generation":2,"reason":"looked"`},
		{`{"verb":"rollback","reason":"worse"}`, `"generation":1,"pinned":true,"reason":"worse"`},
		{`{"verb":"promote","generation":2,"reason":"better"}`, `"generation":2,"reason":"better"`},
	} {
		w := move(api, step.body, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
		serving, _, _ := strings.Cut(w.Body.String(), `"before"`)
		if w.Code != http.StatusOK || !strings.Contains(serving, step.want) {
			t.Errorf("%s: %d %s, want %s", step.body, w.Code, w.Body, step.want)
		}
	}
	p.await(n, 2)
}

func TestAdminRefuses(t *testing.T) {
	p := newPublisher(t)
	n := p.node(Options{Admin: true})
	p.add(0, 10)
	p.await(n, 1)
	for name, test := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
		code   string
	}{
		"verb":         {`{"verb":"drop","reason":"r"}`, nil, 400, "invalid"},
		"reason":       {`{"verb":"pin"}`, nil, 400, "invalid"},
		"who":          {`{"verb":"pin","reason":"r","by":"builder"}`, nil, 400, "malformed"},
		"not there":    {`{"verb":"promote","generation":9,"reason":"r"}`, nil, 400, "invalid"},
		"not pinned":   {`{"verb":"unpin","reason":"r"}`, nil, 400, "invalid"},
		"no JSON":      {`verb=pin`, nil, 400, "malformed"},
		"a form":       {`{"verb":"pin","reason":"r"}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "media_type"},
		"another site": {`{"verb":"pin","reason":"r"}`, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, "forbidden"},
		"GET":          {``, func(r *http.Request) { r.Method = http.MethodGet }, 405, "bad_method"},
	} {
		w := move(n.API(), test.body, test.change)
		var said struct{ Code string }
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != test.status || said.Code != test.code {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, test.status, test.code)
		}
	}
	if c, err := p.log.Channel(t.Context(), 0); err != nil || c.Sequence != 1 {
		t.Errorf("the channel is at %v, %v, want nothing changed", c, err)
	}
	if w := move(p.node(Options{}).API(), `{"verb":"pin","reason":"r"}`, nil); w.Code != http.StatusNotFound {
		t.Errorf("without Admin: %d %s", w.Code, w.Body)
	}
}

// What a client sends cannot pose as what is allowed.
func TestAdminRefusalQuotesTheVerb(t *testing.T) {
	n := newPublisher(t).node(Options{Admin: true})
	p := problemOf(t, move(n.API(), `{"verb":"drop, allowed: all","reason":"r"}`, nil))
	if p.Detail != `verb: "drop, allowed: all"` || p.Allowed != "promote pin unpin rollback" {
		t.Errorf("detail %s, allowed %s", p.Detail, p.Allowed)
	}
}
