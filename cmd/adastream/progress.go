package main

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
)

// progress is a bar where a person sees it, and nothing elsewhere, until end is called; of is how much there is to do, -1 if that is
// not known.
func progress(what string, of int64, more ...progressbar.Option) (bar *progressbar.ProgressBar, end func()) {
	to := cli.Terminal()
	bar = progressbar.NewOptions64(of, append([]progressbar.Option{
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(to), progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0), // else one goes on to move after the end
	}, more...)...)
	return bar, func() { fmt.Fprintln(to) }
}

// told is a bar for work that says how much is done, and of how much, as it goes on: there is none before that.
func told(what string, more ...progressbar.Option) (tell func(done, of int64), end func()) {
	var bar *progressbar.ProgressBar
	stop := func() {}
	return func(done, of int64) {
		if bar == nil {
			bar, stop = progress(what, of, more...)
		}
		_ = bar.Set64(done)
	}, func() { stop() }
}
