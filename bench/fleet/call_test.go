package fleet

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCall(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch body, _ := io.ReadAll(r.Body); r.URL.Path {
		case "/get":
			if r.Method != http.MethodGet {
				http.Error(w, r.Method, http.StatusTeapot)
			}
		case "/post":
			if r.Method != http.MethodPost || string(body) != "{}" {
				http.Error(w, r.Method, http.StatusTeapot)
			}
		case "/fails":
			http.Error(w, "why", http.StatusInternalServerError)
			return
		default:
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, `{"n":7}`)
	}))
	defer server.Close()
	for _, test := range []struct {
		path string
		body []byte
		want string // of the error
	}{{"/get", nil, ""}, {"/post", []byte("{}"), ""}, {"/fails", nil, "500 Internal Server Error: why"}, {"/none", nil, "not found"}} {
		var a struct{ N int }
		err := Call(t.Context(), http.DefaultClient, server.URL+test.path, test.body, &a)
		if test.want == "" && (err != nil || a.N != 7) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, %v, want %q", test.path, a, err, test.want)
		}
		if errors.Is(err, ErrNotFound) != (test.path == "/none") {
			t.Errorf("%s: %v", test.path, err)
		}
	}
}
