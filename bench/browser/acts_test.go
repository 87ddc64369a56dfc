package browser

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/ui"
)

// set gives a field a value, as who types it does.
func (b *browser) set(selector, value string) {
	b.t.Helper()
	b.do(chromedp.Focus(chromedp.CSS(selector)))
	run(b, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.value = %q;
		e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()`, selector, value)))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

const (
	hits  = "document.querySelectorAll('#sides .scroll:first-child tbody tr').length"
	exact = "document.querySelectorAll('#sides .scroll:last-child tbody tr').length"
)

// Ask by id and by vector, with filters and knobs, beside the exact answer.
func testSearch(t *testing.T, s *stack) {
	b := openBrowser(t)
	b.do(chromedp.Navigate(s.api + "/ui/search"))
	b.set("#like", "guitar")
	b.do(chromedp.Submit(chromedp.CSS("#query")))
	b.until(hits + " === 10 && " + exact + " === 10")
	if sum := b.text("#sum"); !strings.Contains(sum, "of 10 match the exact answer") || !strings.Contains(sum, "expected recall@10") {
		t.Errorf("it says %q", sum)
	}
	for _, name := range []string{"lists_probed", "codes_scanned", "refined", "microseconds"} {
		if text := b.text("[data-stage=" + name + "]"); text == "\u2013" || text == "0" {
			t.Errorf("%s: %q", name, text)
		}
	}

	// A knob answers when it is turned: one list, compared by few dimensions, finds less, and what it misses is marked.
	b.set("#k", "40")
	b.set("#how", "plan")
	b.set("#nprobe", "1")
	b.until("document.querySelector('[data-stage=lists_probed]').textContent === '1'")
	b.set("#dims", "8") // by all of them a list may have all forty
	b.until("document.querySelectorAll('#sides tr.missed').length > 0")
	b.shoot("missed", desktop, "light")
	b.set("#dims", "")
	b.set("#k", "10")
	b.set("#how", "effort")
	b.set("#effort", "1")
	b.until("document.querySelector('#sum').textContent.includes('match the exact answer') && document.querySelector('[data-stage=lists_probed]').textContent !== '1'")
	b.set("#how", "target_recall")
	b.set("#dims", "8")
	b.until("document.querySelector('#sum').textContent.includes('degraded: dims')")
	b.set("#dims", "")

	// Filters know the types of attributes.
	b.click("#add")
	b.set(".condition select:first-child", "letters")
	b.set(".condition select:nth-of-type(2)", "$lte")
	b.set(".condition .value", "six")
	b.until("document.querySelector('#sum').textContent.includes('letters: six is not of type int64')")
	b.set(".condition .value", "6")
	b.until("document.querySelector('#sum').textContent.includes('rows match the filter')")
	b.click("#add")
	b.set(".condition:nth-child(2) select:first-child", "class")
	b.set(".condition:nth-child(2) .value", "musical instrument")
	b.until("document.querySelector('#curl').textContent.includes('$and')")
	b.until("[...document.querySelectorAll('#sides .scroll:first-child tbody tr')].every(r => r.textContent.includes('musical instrument')) && " + hits + " > 0")
	b.shoot("filter", desktop, "light")
	b.click(".condition button")
	b.click(".condition button")
	b.until(hits + " === 10")

	// A vector that is pasted, and one that is not.
	b.click("[name=kind][value=vector]")
	b.set("#vector", "[1, 2, 3]")
	b.until("document.querySelector('#sum').textContent.includes('vector: 3 numbers, allowed: 256')")
	b.set("#vector", strings.TrimSuffix(strings.Repeat("0.0625 ", 256), " "))
	b.until(hits + " === 10")
	b.click("#sides a")
	b.until("location.search.startsWith('?like=') && " + hits + " === 10")

	// What is not there is said, and nothing else is shown.
	b.set("#like", "<img src=x onerror=alert(1)>")
	b.until("document.querySelector('#sum').textContent.includes('no live row has the id') && " + hits + " === 0")
	b.mu.Lock()
	b.faults = nil // the browser notes the 404
	b.mu.Unlock()
}

// Choose two generations and see what they share.
func testDiff(t *testing.T, s *stack) {
	b := openBrowser(t)
	b.do(chromedp.Navigate(s.api + "/ui/snapshots"))
	b.click("[name=from][value='1']")
	b.click("main form [type=submit]")
	b.until("location.pathname === '/ui/diff' && document.querySelector('h1')?.textContent.startsWith('Generations 1 and ')")
	if text := b.text("main"); !strings.Contains(text, "model: first") || !strings.Contains(text, "What they share") {
		t.Errorf("it says %q", text)
	}
	b.quiet("diff")
}

// A page that is kept open stays up to date, without moving what is looked at.
func testRefresh(t *testing.T, s *stack) {
	b := openBrowser(t)
	b.do(chromedp.Navigate(s.api + "/ui/"))
	b.until("document.querySelectorAll('.uplot canvas').length === 4")
	b.do(chromedp.Focus(chromedp.CSS("tbody a")))
	const look = `JSON.stringify([...document.querySelectorAll('h1, .tile, .chart, h2, .uplot')].map(e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width]; }))`
	before, stamp := run(b, chromedp.Evaluate[string](look)), b.text("#stamp")
	run(b, chromedp.Evaluate[chromedp.Void]("document.querySelector('.uplot').mark = true; document.title = 'of before · words · adastream'"))
	w := readWords(t)
	s.send(w.batch(19_000, 19_500, time.Now()))
	generation := s.serving().Generation
	s.until("it is served", func() bool { return s.serving().Generation > generation })
	b.until(fmt.Sprintf("document.querySelector('#stamp').textContent !== %q && Number(document.querySelector('tbody a').href.split('/').pop()) > %d", stamp, generation))
	b.until("document.title.startsWith('Healthy · words ·')")
	if after := run(b, chromedp.Evaluate[string](look)); after != before {
		t.Errorf("the page has moved:\n%s\n%s", before, after)
	}
	if !run(b, chromedp.Evaluate[bool]("document.querySelector('.uplot').mark === true && document.activeElement.matches('tbody a')")) {
		t.Error("charts were made anew, or the focus was lost")
	}
	b.quiet("refresh")
}

// guarded is a second node of the index, which asks for tokens and does what an administrator says who has one.
func guarded(t *testing.T, s *stack) (url, search, admin string) {
	t.Helper()
	bucket, err := store.Open(t.Context(), filepath.Join(s.dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := commit.Open(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := store.NewCache(t.TempDir(), bucket, store.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	node, err := serve.New(serve.Options{Log: log, Cache: cache, Level: level, Registry: registry, Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := ui.New(ui.Options{Node: node, Log: log, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	search, line, err := access.NewToken(access.Token{Name: "tom", Scopes: []access.Scope{access.Search}})
	if err != nil {
		t.Fatal(err)
	}
	admin, more, err := access.NewToken(access.Token{Name: "ann", Scopes: []access.Scope{access.Admin}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line+"\n"+more+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := access.OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(access.New(access.Options{Tokens: tokens}).Protect(pages.Handler(node.API()), access.APIScope))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = node.Run(ctx) })
	running.Go(func() { _ = pages.Run(ctx) })
	t.Cleanup(func() { server.Close(); stop(); running.Wait(); node.Close() })
	s.until("the node serves", func() bool { return node.Ready() == nil })
	return server.URL, search, admin
}

// login answers the browser's question for a password, as a person does.
func (b *browser) login(password string) {
	b.t.Helper()
	err := chromedp.Listen(b.ctx, func(event any) {
		var answer chromedp.Action[cdp.Empty]
		switch e := event.(type) {
		case *fetch.EventAuthRequired:
			answer = command(fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID,
				AuthChallengeResponse: &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: "me", Password: password}})
		case *fetch.EventRequestPaused:
			answer = command(fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
		default:
			return
		}
		go func() { _, _ = chromedp.Run(b.ctx, answer) }() // it fails when the page is left before
	})
	if err != nil {
		b.t.Fatal(err)
	}
	yes := true
	run(b, command(fetch.Enable, fetch.EnableParams{HandleAuthRequests: &yes}))
}

// A page of a node that asks for tokens takes one as a password. Moves need another one, a reason and a click more; that token is
// kept nowhere.
func testMove(t *testing.T, s *stack) {
	url, search, token := guarded(t, s)
	b := openBrowser(t)
	b.login(search)
	b.do(chromedp.Navigate(url + "/ui/search?like=guitar"))
	b.until(hits + " === 10 && " + exact + " === 10")
	b.do(chromedp.Navigate(url + "/ui/snapshots"))
	b.until("document.querySelector('[data-verb=pin]')")
	b.click("[data-verb=pin]")
	b.set("#reason", "a look at this one")
	b.set("#token", search)
	b.click("#confirm [type=submit]")
	b.until("document.querySelector('#confirm .outcome.bad')?.textContent.includes('tom')")
	b.set("#token", "another")
	b.click("#confirm [type=submit]")
	b.until("document.querySelector('#confirm .outcome.bad')?.textContent.includes('the token is not one of this node')")
	b.mu.Lock()
	b.faults = nil // the browser notes the 401
	b.mu.Unlock()
	if v := run(b, chromedp.Evaluate[string]("document.querySelector('#token').value")); v != "" {
		t.Errorf("the field still has %q", v)
	}
	b.set("#token", token)
	b.shoot("confirm", desktop, "light")
	b.click("#confirm [type=submit]")
	b.until("document.querySelector('#confirm .outcome.good')?.textContent.startsWith('Done')")
	b.click("#confirm [data-close]")
	b.until("document.querySelector('[data-verb=unpin]')")
	if kept := run(b, chromedp.Evaluate[string]("JSON.stringify([localStorage, sessionStorage, document.cookie, document.documentElement.outerHTML])")); strings.Contains(kept, token) {
		t.Error("the token is kept")
	}
	b.do(chromedp.Navigate(url + "/ui/"))
	b.until("document.title.startsWith('Needs attention · words') && document.querySelector('.reason.warn')?.textContent.includes('a look at this one')")
	b.shoot("pinned", desktop, "light")
	if text := b.text(".reason.warn"); !strings.Contains(text, "Pinned to generation") || !strings.Contains(text, "By ann@") {
		t.Errorf("it says %q", text)
	}
	b.do(chromedp.Navigate(url + "/ui/snapshots"))
	b.click("[data-verb=unpin]")
	b.set("#reason", "seen")
	b.set("#token", token)
	b.click("#confirm [type=submit]")
	b.until("document.querySelector('#confirm .outcome.good')")
	b.quiet("moves")
}
