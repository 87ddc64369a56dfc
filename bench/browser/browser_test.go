// Package browser tests the pages of a node in Chromium, on `adastream standalone` with data.
package browser

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var (
	screenshots = flag.String("screenshots", "", "folder to write all screenshots to")
	update      = flag.Bool("update", false, "write the screenshots that README and docs show")
	hold        = flag.Duration("hold", 0, "time to go on serving at the end, to look at the pages by hand")
)

// browser is a tab of a Chromium that belongs to a test.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	faults []string // of the console and the scripts
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	program := "chromium"
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%v: apt-get install chromium", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{t: t, ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.faults = append(b.faults, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
				b.faults = append(b.faults, fmt.Sprintf("console.%s: %s", e.Type, e.Args[0].Value))
			}
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
				b.faults = append(b.faults, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.look(desktop, "light")
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	run(b, chromedp.Steps(steps...))
}

// run does one thing, and returns what came of it.
func run[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 30*time.Second)
	defer stop()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// command is one of the protocol of the browser.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[R] {
	return func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, c, params) }
}

// quiet fails if the console of the browser has anything to say.
func (b *browser) quiet(where string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		b.t.Errorf("%s: %s", where, f)
	}
	b.faults = nil
}

// until waits for a condition of the page.
func (b *browser) until(condition string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !run(b, chromedp.Evaluate[bool]("!!("+condition+")")); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited 20 s until %s", condition)
		}
	}
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return run(b, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector)))
}

type viewport struct {
	name          string
	width, height int64
}

var (
	desktop = viewport{"", 1280, 900}
	phone   = viewport{"-phone", 390, 844}
)

// looks are the ways in which each page is shown.
var looks = []struct {
	viewport
	scheme string
}{{desktop, "light"}, {desktop, "dark"}, {phone, "light"}, {phone, "dark"}}

func (b *browser) look(v viewport, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(v.width, v.height))
	run(b, command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// shoot writes a picture of the page, its whole length up to a limit.
func (b *browser) shoot(name string, v viewport, scheme string) {
	b.t.Helper()
	file := fmt.Sprintf("ui-%s-%s%s.png", name, scheme, v.name)
	folder := *screenshots
	if *update && slices.Contains(shown, file) {
		folder = "../../docs/img"
	}
	if folder == "" {
		return
	}
	height := run(b, chromedp.Evaluate[float64]("document.documentElement.scrollHeight"))
	beyond := true
	picture := run(b, command(page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &beyond,
		Clip: &page.Viewport{Width: float64(v.width), Height: min(height, longest), Scale: 1}}))
	small, err := fewerColors(picture.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, file), small, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// shown are the screenshots of README and docs.
var shown = []string{
	"ui-overview-light.png", "ui-overview-dark.png", "ui-overview-light-phone.png", "ui-snapshots-light.png", "ui-snapshots-dark.png",
	"ui-search-light.png", "ui-search-dark.png", "ui-quarantine-light.png", "ui-quarantine-dark.png", "ui-pinned-light.png",
}

// fewerColors makes a picture smaller by keeping its most frequent colours and taking the nearest of them for the others.
func fewerColors(data []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	counts := map[color.Color]int{}
	r := from.Bounds()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			counts[from.At(x, y)]++
		}
	}
	colors := color.Palette(slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return counts[b] - counts[a] }))
	to := image.NewPaletted(r, colors[:min(256, len(colors))])
	draw.Draw(to, r, from, r.Min, draw.Src)
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
}

const longest = 1400 // pixels of a screenshot

// pages are all of them, and when each shows its data.
func pages(s *stack) map[string]struct{ path, ready string } {
	return map[string]struct{ path, ready string }{
		"overview":   {"/ui/", "document.querySelectorAll('.uplot canvas').length === 4"},
		"snapshots":  {"/ui/snapshots", "document.querySelectorAll('circle.point').length > 3 && document.querySelectorAll('rect.bar-fill').length > 3"},
		"diff":       {fmt.Sprintf("/ui/diff?from=%d&to=%d", s.serving().Generation-1, s.serving().Generation), "document.querySelectorAll('tbody tr').length > 10"},
		"search":     {"/ui/search?like=guitar", "document.querySelectorAll('#sides tbody tr').length === 20"},
		"quarantine": {"/ui/quarantine", "document.querySelectorAll('#newest ~ .scroll tbody tr').length >= 4"},
	}
}

func TestUI(t *testing.T) {
	s := startStack(t)
	t.Run("pages", func(t *testing.T) { testPages(t, s) })
	t.Run("search", func(t *testing.T) { testSearch(t, s) })
	t.Run("diff", func(t *testing.T) { testDiff(t, s) })
	t.Run("refresh", func(t *testing.T) { testRefresh(t, s) })
	t.Run("move", func(t *testing.T) { testMove(t, s) })
	time.Sleep(*hold)
}

// Every page is there with its data in time, has nothing to complain of in the console, fits, and can be used by all.
func testPages(t *testing.T, s *stack) {
	b := openBrowser(t)
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range pages(s) {
		for _, l := range looks {
			b.look(l.viewport, l.scheme)
			took := time.Hour
			for try := 0; try < 3 && took > time.Second; try++ { // a pause of the machine is no fault of the page
				began := time.Now()
				b.do(chromedp.Navigate(s.api + p.path))
				b.until(p.ready)
				took = time.Since(began)
			}
			if took > time.Second {
				t.Errorf("%s, %s%s: %v until its data are there, allowed: 1s", name, l.scheme, l.name, took)
			}
			t.Logf("%s, %s%s: %v", name, l.scheme, l.name, took.Round(time.Millisecond))
			b.quiet(name)
			if run(b, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth")) {
				t.Errorf("%s, %s%s: the page is wider than the window", name, l.scheme, l.name)
			}
			for _, v := range b.violations(string(axe)) {
				t.Errorf("%s, %s%s: %s", name, l.scheme, l.name, v)
			}
			b.shoot(name, l.viewport, l.scheme)
		}
	}
}

// violations are what axe-core finds that is serious or critical. It is let in past the policy of the page, which allows no such
// script.
func (b *browser) violations(axe string) (found []string) {
	b.t.Helper()
	run(b, chromedp.Evaluate[chromedp.Void](axe+";0"))
	all := run(b, chromedp.Evaluate[[]struct {
		ID     string `json:"id"`
		Impact string `json:"impact"`
		Help   string `json:"help"`
		Nodes  []struct {
			HTML string `json:"html"`
		} `json:"nodes"`
	}]("axe.run().then(r => r.violations.map(({id, impact, help, nodes}) => ({id, impact, help, nodes: nodes.map(({html}) => ({html}))})))", chromedp.EvalAwaitPromise))
	for _, v := range all {
		var nodes []string
		for _, n := range v.Nodes {
			nodes = append(nodes, n.HTML[:min(200, len(n.HTML))])
		}
		text := fmt.Sprintf("%s: %s: %s: %s", v.Impact, v.ID, v.Help, strings.Join(nodes, " "))
		if v.Impact == "serious" || v.Impact == "critical" {
			found = append(found, text)
		} else {
			b.t.Log(text)
		}
	}
	return found
}
