package access

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// line is a new token and its line.
func newLine(t testing.TB, token Token) (secret, line string) {
	t.Helper()
	secret, line, err := NewToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return secret, line
}

// write replaces a file at once, as whoever deploys it does.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func tokensFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, strings.Join(lines, "\n")+"\n")
	return path
}

func openTokens(t testing.TB, lines ...string) *Tokens {
	t.Helper()
	tokens, err := OpenTokens(tokensFile(t, lines...))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// What a token is made of is what the file says of it, and the token is found by itself alone.
func TestNewToken(t *testing.T) {
	want := Token{Name: "web.1", Scopes: []Scope{Search, Admin}, Rate: 2.5, Burst: 7, Concurrent: 3}
	secret, line := newLine(t, want)
	if len(secret) < len(tokenPrefix)+22 { // 128 bits in base64
		t.Errorf("a token of %d characters", len(secret))
	}
	if strings.Contains(line, secret) || strings.Contains(line, strings.TrimPrefix(secret, tokenPrefix)) {
		t.Error("the line has the token in it")
	}
	another, otherLine := newLine(t, Token{Name: "other", Scopes: []Scope{Metrics}})
	if another == secret {
		t.Fatal("two tokens are the same")
	}
	tokens := openTokens(t, "# ours", "", line+" # a comment", "\t"+otherLine+"\r")
	h := tokens.find(secret)
	if h == nil || h.Name != want.Name || h.Rate != want.Rate || h.Burst != want.Burst || h.Concurrent != want.Concurrent || !h.may(Search) || !h.may(Admin) || h.may(Metrics) {
		t.Errorf("found %+v, want %+v", h, want)
	}
	if h := tokens.find(another); h == nil || h.Name != "other" {
		t.Errorf("found %+v, want other", h)
	}
	for _, wrong := range []string{"", secret + " ", secret[:len(secret)-1], strings.ToUpper(secret), hex.EncodeToString(h.Hash[:])} {
		if h := tokens.find(wrong); h != nil {
			t.Errorf("%q finds %s", wrong, h.Name)
		}
	}
}

func TestTokensFileIsStrict(t *testing.T) {
	secret, good := newLine(t, Token{Name: "web", Scopes: []Scope{Search}})
	hash := strings.Fields(good)[1]
	for name, c := range map[string]struct{ file, want string }{
		"empty":                 {"", "no token in it"},
		"comments only":         {"# none\n\n", "no token in it"},
		"two words":             {"web " + hash, "line 1: 2 words"},
		"the token itself":      {"web " + secret + " search", "not the token itself"},
		"a token as the name":   {secret + " " + hash + " search", "name: allowed"},
		"a name with quotes":    {`w"eb ` + hash + " search", "name: allowed"},
		"a long name":           {strings.Repeat("x", 41) + " " + hash + " search", "name: allowed"},
		"a short hash":          {"web " + hash[:62] + " search", "hash of 62 characters"},
		"an unknown scope":      {"web " + hash + " search,root", `scope "root"`},
		"no scope":              {"web " + hash + " ,", `scope ""`},
		"an unknown limit":      {"web " + hash + " search speed=3", `limit "speed"`},
		"a limit without value": {"web " + hash + " search rate", "rate="},
		"a rate of 0":           {"web " + hash + " search rate=0", "rate=\"0\""},
		"a rate that is none":   {"web " + hash + " search rate=NaN", "rate=\"NaN\""},
		"a rate without end":    {"web " + hash + " search rate=Inf", "rate=\"Inf\""},
		"burst alone":           {"web " + hash + " search burst=3", "goes with rate="},
		"burst of 0":            {"web " + hash + " search rate=1 burst=0", "burst=\"0\""},
		"concurrent below none": {"web " + hash + " search concurrent=-1", "concurrent=\"-1\""},
		"a limit twice":         {"web " + hash + " search rate=1 rate=2", "given twice"},
		"a name twice":          {good + "\nweb " + strings.Repeat("0", 64) + " search", "line 2: token web"},
		"a hash twice":          {good + "\nweb2 " + hash + " search", "line 2: token web2"},
		"a large file":          {"#" + strings.Repeat("x", maxFile), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := tokensFile(t, c.file)
			_, err := OpenTokens(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q of %s", err, c.want, path)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
	var many strings.Builder
	for i := range maxTokens + 1 {
		fmt.Fprintf(&many, "n%d %064x search\n", i, i)
	}
	if _, err := OpenTokens(tokensFile(t, many.String())); err == nil || !strings.Contains(err.Error(), "more than 1000") {
		t.Errorf("1001 tokens: %v", err)
	}
}

// A changed file counts; one that is broken, or gone, changes nothing and is told once, whatever the times of the files.
func TestTokensReload(t *testing.T) {
	first, firstLine := newLine(t, Token{Name: "first", Scopes: []Scope{Search}})
	second, secondLine := newLine(t, Token{Name: "second", Scopes: []Scope{Search}})
	path := tokensFile(t, firstLine)
	tokens, err := OpenTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	stamp := time.Unix(1e9, 0)
	step := func(what, file string, wantChanged, wantErr bool, want ...string) {
		t.Helper()
		if file == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, path, file)
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
		}
		if changed, err := tokens.Look(); changed != wantChanged || (err != nil) != wantErr {
			t.Errorf("%s: changed %v, %v", what, changed, err)
		}
		if changed, err := tokens.Look(); changed || err != nil {
			t.Errorf("%s, looked at again: changed %v, %v", what, changed, err)
		}
		for name, secret := range map[string]string{"first": first, "second": second} {
			if found := tokens.find(secret) != nil; found != (strings.Contains(strings.Join(want, " "), name)) {
				t.Errorf("%s: %s is found: %v, want %v", what, name, found, want)
			}
		}
	}
	step("another token", firstLine+"\n"+secondLine, true, false, "first", "second")
	step("a broken line", firstLine+"\nweb", false, true, "first", "second")
	step("no file", "", false, true, "first", "second")
	step("one token less", secondLine, true, false, "second")
	step("back again", firstLine, true, false, "first")
}

// A reload is no new allowance, and new limits count for a token that is in use.
func TestLimitsOutliveReload(t *testing.T) {
	secret, line := newLine(t, Token{Name: "web", Scopes: []Scope{Search}, Rate: 0.001, Burst: 2})
	path := tokensFile(t, line)
	tokens, err := OpenTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	tokens.find(secret).use.limiter.AllowN(time.Now(), 2)
	write(t, path, line+" # changed\n")
	if changed, err := tokens.Look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if tokens.find(secret).use.limiter.Allow() {
		t.Error("a reload gave a new allowance")
	}
	write(t, path, strings.Replace(line, "rate=0.001 burst=2", "", 1))
	if changed, err := tokens.Look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	for range 100 {
		if !tokens.find(secret).use.limiter.Allow() {
			t.Fatal("the limit that was taken away still holds")
		}
	}
}

func TestReloaderCountsAndTells(t *testing.T) {
	secret, line := newLine(t, Token{Name: "web", Scopes: []Scope{Search}})
	path := tokensFile(t, line)
	tokens, err := OpenTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	log, out := logTo()
	r := NewReloader(log, prometheus.NewRegistry(), tokens)
	r.Look()
	if out.String() != "" {
		t.Errorf("nothing has changed, and it says %s", out)
	}
	write(t, path, "web "+secret+" search")
	r.Look()
	r.Look()
	if got := testutil.ToFloat64(r.failures); got != 1 {
		t.Errorf("%v failures, want 1", got)
	}
	if !strings.Contains(out.String(), "not the token itself") || strings.Contains(out.String(), secret) {
		t.Errorf("the log is %s", out)
	}
	write(t, path, line+" rate=1")
	r.Look()
	if !strings.Contains(out.String(), "read again") {
		t.Errorf("the log is %s", out)
	}
}
