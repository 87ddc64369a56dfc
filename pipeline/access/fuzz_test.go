package access

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/adastream/adastream/internal/mutate"
)

func FuzzRequest(f *testing.F)    { mutate.Fuzz(f, requesting) }
func FuzzTokensFile(f *testing.F) { mutate.Fuzz(f, readingTokens) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{"FuzzRequest": requesting, "FuzzTokensFile": readingTokens})
}

// fixedLine is of a token that is the same in each run, so that a seed is one input.
func fixedLine(name, rest string) (secret, line string) {
	secret = tokenPrefix + strings.Repeat(name, 10)
	return secret, fmt.Sprintf("%s %x %s", name, sha256.Sum256([]byte(secret)), rest)
}

// requesting: whatever the path and the header are, a handler is reached with the token alone, and one below the admin path by nobody
// whose token is for searching. An input is a line with the path, and headers.
func requesting(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
	secret, line := fixedLine("web", "search")
	api := New(Options{Tokens: openTokens(t, line)}).Protect(mux(), APIScope)
	for _, authorization := range []string{"", bearer(secret), basic(secret), "Bearer", "Basic Og==", bearer(secret) + "\nAuthorization: " + bearer(secret), bearer("adst_")} {
		for _, path := range []string{"/v1/search", "/v1/admin/promote", "/v1/vectors/../admin/promote", "/ui/%2e%2e/x"} {
			seeds = append(seeds, []byte(path+"\nAuthorization: "+authorization))
		}
	}
	return seeds, func(t testing.TB, input []byte) {
		path, headers, _ := strings.Cut(string(input), "\n")
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return // the server refuses it
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.URL = u
		for h := range strings.SplitSeq(headers, "\n") {
			if name, value, ok := strings.Cut(h, ": "); ok {
				r.Header.Add(name, value)
			}
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		reached := w.Header().Get("Reached")
		if strings.Contains(reached, "admin") {
			t.Errorf("%q reaches %s", input, reached)
		}
		header := strings.Join(r.Header.Values("Authorization"), "\n")
		_, password, _ := r.BasicAuth()
		if reached != "" && !strings.Contains(header, secret) && password != secret {
			t.Errorf("%q reaches %s without the token", input, reached)
		}
		if w.Code >= 500 {
			t.Errorf("%q: %d %s", input, w.Code, w.Body)
		}
	}
}

// readingTokens: a file is refused, or each of its tokens reads back as the same, and an error does not have what may be a token.
func readingTokens(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
	secret, line := fixedLine("web", "search,metrics rate=1.5 burst=3 concurrent=2")
	_, other := fixedLine("ops", "admin")
	seeds = [][]byte{[]byte(line + "\n"), []byte("# all\n\n" + line + "\r\n" + other + " # the other\n"), []byte("web " + secret + " search\n"), []byte(secret + "\n"),
		[]byte(line + "," + secret), []byte(line + " " + secret + "=1"), []byte(line + " " + secret), []byte(strings.Replace(line, "1.5", secret, 1))}
	return seeds, func(t testing.TB, input []byte) {
		tokens, err := parseTokens(input)
		if err != nil {
			if strings.Contains(err.Error(), secret[:17]) || len(err.Error()) > 1000 {
				t.Errorf("%q: %v", input, err)
			}
			return
		}
		var again bytes.Buffer
		for _, token := range tokens {
			again.WriteString(token.line() + "\n")
		}
		same, err := parseTokens(again.Bytes())
		if err != nil || len(same) != len(tokens) {
			t.Fatalf("%q: written as %q: %v", input, again.Bytes(), err)
		}
		for i := range same {
			if same[i].line() != tokens[i].line() {
				t.Errorf("%q: %q is read back as %q", input, tokens[i].line(), same[i].line())
			}
		}
	}
}
