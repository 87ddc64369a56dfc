package access

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Scope is what a token may be used for.
type Scope string

// Scopes. None of them has another one in it.
const (
	Search  Scope = "search"  // the query API and its pages, but for
	Admin   Scope = "admin"   // what changes the index or what is served
	Metrics Scope = "metrics" // /metrics of the operator's port
)

// Scopes are all of them.
var scopes = []Scope{Search, Admin, Metrics}

const (
	maxTokens   = 1000 // names are values of a metric's label
	maxLimit    = 1_000_000
	tokenPrefix = "adst_" // so that scanners of repositories and logs can find tokens
	tokenBytes  = 32
)

// Token is one line of a tokens file.
type Token struct {
	Name       string
	Hash       [sha256.Size]byte // of the token
	Scopes     []Scope
	Rate       float64 // requests a second; 0 is no limit
	Burst      int     // requests at once, after a pause; 0 is a second's worth, and at least 1
	Concurrent int     // requests at a time; 0 is no limit
}

// NewToken makes a token, which is shown once, and the line that stands for it in a tokens file. The hash of t is set.
func NewToken(t Token) (token string, line string, err error) {
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // it ends the process if there is no randomness
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	t.Hash = sha256.Sum256([]byte(token))
	line = t.line()
	if _, err := parseToken(line); err != nil {
		return "", "", err
	}
	return token, line, nil
}

func (t Token) line() string {
	names := make([]string, len(t.Scopes))
	for i, s := range t.Scopes {
		names[i] = string(s)
	}
	line := fmt.Sprintf("%s %x %s", t.Name, t.Hash, strings.Join(names, ","))
	if t.Rate != 0 {
		line += fmt.Sprintf(" rate=%v", t.Rate)
	}
	if t.Burst != 0 {
		line += fmt.Sprintf(" burst=%d", t.Burst)
	}
	if t.Concurrent != 0 {
		line += fmt.Sprintf(" concurrent=%d", t.Concurrent)
	}
	return line
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`) // less than a token has without its prefix

// parseToken reads a line. Its errors do not quote what may be a token that was put into the wrong place.
func parseToken(line string) (Token, error) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return Token{}, fmt.Errorf("%d words, allowed: NAME SHA256 SCOPES, then rate=, burst= and concurrent=", len(fields))
	}
	t := Token{Name: fields[0]}
	if !tokenName.MatchString(t.Name) || strings.Contains(t.Name, tokenPrefix) {
		return t, errors.New("name: allowed: 1 to 40 letters, digits, dots, dashes and underscores, a letter or digit first, and no token")
	}
	hash, err := hex.DecodeString(fields[1])
	if err != nil || len(hash) != len(t.Hash) {
		return t, fmt.Errorf("token %s: hash of %d characters, allowed: the 64 hex digits of the SHA-256 of the token, not the token itself", t.Name, len(fields[1]))
	}
	copy(t.Hash[:], hash)
	for name := range strings.SplitSeq(fields[2], ",") {
		if !slices.Contains(scopes, Scope(name)) {
			return t, fmt.Errorf("token %s: scope %s, allowed: search, admin, metrics, separated by commas", t.Name, quote(name))
		}
		if !slices.Contains(t.Scopes, Scope(name)) {
			t.Scopes = append(t.Scopes, Scope(name))
		}
	}
	given := map[string]bool{}
	for _, field := range fields[3:] {
		name, value, _ := strings.Cut(field, "=")
		if given[name] {
			return t, fmt.Errorf("token %s: limit %s is given twice", t.Name, quote(name))
		}
		given[name] = true
		if err := t.limit(name, value); err != nil {
			return t, fmt.Errorf("token %s: %w", t.Name, err)
		}
	}
	if t.Burst != 0 && t.Rate == 0 {
		return t, fmt.Errorf("token %s: burst=%d: goes with rate=", t.Name, t.Burst)
	}
	return t, nil
}

func (t *Token) limit(name, value string) error {
	var err error
	switch name {
	case "rate":
		if t.Rate, err = strconv.ParseFloat(value, 64); err != nil || !(t.Rate > 0 && t.Rate <= maxLimit) {
			return fmt.Errorf("rate=%s, allowed: requests a second, above 0 to %d", quote(value), maxLimit)
		}
	case "burst":
		if t.Burst, err = strconv.Atoi(value); err != nil || t.Burst < 1 || t.Burst > maxLimit {
			return fmt.Errorf("burst=%s, allowed: requests, 1 to %d", quote(value), maxLimit)
		}
	case "concurrent":
		if t.Concurrent, err = strconv.Atoi(value); err != nil || t.Concurrent < 1 || t.Concurrent > maxLimit {
			return fmt.Errorf("concurrent=%s, allowed: requests at a time, 1 to %d", quote(value), maxLimit)
		}
	default:
		return fmt.Errorf("limit %s, allowed: rate=, burst= and concurrent=", quote(name))
	}
	return nil
}

// quote is a word, unless it is long enough to be a token.
func quote(word string) string {
	if len(word) > 16 {
		return fmt.Sprintf("of %d characters", len(word))
	}
	return fmt.Sprintf("%q", word)
}

// parseTokens reads a whole file. One without tokens is refused: it is more likely cut off than meant.
func parseTokens(file []byte) ([]Token, error) {
	var tokens []Token
	lines := map[string]int{} // by name and by hash
	for i, line := range strings.Split(string(file), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		t, err := parseToken(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		for _, key := range []string{t.Name, string(t.Hash[:])} {
			if first, ok := lines[key]; ok {
				return nil, fmt.Errorf("line %d: token %s: name or hash is that of line %d", i+1, t.Name, first)
			}
			lines[key] = i + 1
		}
		if tokens = append(tokens, t); len(tokens) > maxTokens {
			return nil, fmt.Errorf("more than %d tokens", maxTokens)
		}
	}
	if len(tokens) == 0 {
		return nil, errors.New("no token in it")
	}
	return tokens, nil
}

// holder is a token with what its requests share. The latter outlives changes of the file, so that a reload gives nobody a new
// allowance.
type holder struct {
	Token
	use *use
}

type use struct {
	limiter *rate.Limiter
	running atomic.Int64
	passed  atomic.Int64 // requests so far
}

func (h *holder) may(s Scope) bool { return slices.Contains(h.Scopes, s) }

// Tokens are those of a file as it was when it was last good.
type Tokens struct {
	file    source
	mu      sync.Mutex // of Look
	current atomic.Pointer[[]*holder]
}

// OpenTokens reads a tokens file.
func OpenTokens(path string) (*Tokens, error) {
	t := &Tokens{file: source{paths: []string{path}}}
	if _, err := t.Look(); err != nil {
		return nil, err
	}
	return t, nil
}

// String names the file.
func (t *Tokens) String() string { return "tokens file " + t.file.String() }

// Look reads the file again if its bytes have changed, and tells whether it has other tokens now. A file that is broken or gone
// leaves everything as it was, and is an error once.
func (t *Tokens) Look() (changed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	contents, changed, err := t.file.read()
	if err != nil || !changed {
		return false, err
	}
	tokens, err := parseTokens(contents[0])
	if err != nil {
		return false, fmt.Errorf("%s: %w", t, err)
	}
	uses := map[string]*use{}
	if before := t.current.Load(); before != nil {
		for _, h := range *before {
			uses[h.Name] = h.use
		}
	}
	now := make([]*holder, len(tokens))
	for i, token := range tokens {
		limit, burst := rate.Inf, 0
		if token.Rate != 0 {
			limit = rate.Limit(token.Rate)
			burst = cmp.Or(token.Burst, max(1, int(math.Ceil(token.Rate))))
		}
		u := uses[token.Name]
		if u == nil {
			u = &use{limiter: rate.NewLimiter(limit, burst)}
		}
		if u.limiter.Limit() != limit || u.limiter.Burst() != burst {
			u.limiter.SetLimit(limit)
			u.limiter.SetBurst(burst)
		}
		now[i] = &holder{token, u}
	}
	t.current.Store(&now)
	return true, nil
}

var passedDesc = prometheus.NewDesc("adastream_query_access_passed_total",
	"Number of requests admitted, by the name of their token. A tokens file has at most 1,000.", []string{"token"}, nil)

// Describe implements prometheus.Collector.
func (t *Tokens) Describe(to chan<- *prometheus.Desc) { to <- passedDesc }

// Collect implements prometheus.Collector. A name that has left the file is no longer told.
func (t *Tokens) Collect(to chan<- prometheus.Metric) {
	for _, h := range *t.current.Load() {
		to <- prometheus.MustNewConstMetric(passedDesc, prometheus.CounterValue, float64(h.use.passed.Load()), h.Name)
	}
}

// find is the holder of a token, or nil. It takes as long whichever it is, and none.
func (t *Tokens) find(token string) *holder {
	sum := sha256.Sum256([]byte(token))
	all := *t.current.Load()
	found := -1
	for i, h := range all {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], h.Hash[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return all[found]
}
