package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// stamp is what a release is called: a semantic version, and after a plus sign the revision that it is made of. .ci/release.sh has the
// linker set it; a build without it is what the Go toolchain knows of it.
var stamp string

// Build says which build of Adastream a program is.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the repository, absent where the toolchain was not told
	Dirty    bool   `json:"dirty"`              // files differed from the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// ThisBuild is the one that runs.
func ThisBuild() Build {
	info, _ := debug.ReadBuildInfo() // nil in a program that was built without modules
	return buildOf(stamp, info)
}

func buildOf(stamp string, info *debug.BuildInfo) Build {
	b := Build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info != nil {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			b.Version = strings.TrimSuffix(strings.TrimPrefix(v, "v"), "+dirty")
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.modified":
				b.Dirty = s.Value == "true"
			}
		}
	}
	if stamp != "" {
		b.Version, b.Revision, _ = strings.Cut(stamp, "+")
		b.Dirty = false
	}
	return b
}

// String is the version, with the revision where it is known.
func (b Build) String() string {
	switch {
	case b.Revision == "":
		return b.Version
	case b.Dirty:
		return b.Version + " (" + b.Revision + ", changed)"
	default:
		return b.Version + " (" + b.Revision + ")"
	}
}

// collector shows the build as a metric, whose labels say what it is.
func (b Build) collector() prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "adastream_build_info", Help: "1, with the build as labels.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	g.Set(1)
	return g
}

// Version is what a program says of itself.
type Version struct {
	Build
	SIMD    string           `json:"simd"` // kernels in use
	Formats []schemas.Format `json:"formats"`
}

// ThisVersion fails if the kernels are asked for by a name that does not run here.
func ThisVersion() (Version, error) {
	level, err := avx.Best()
	if err != nil {
		return Version{}, Usage(err)
	}
	return Version{Build: ThisBuild(), SIMD: level.String(), Formats: schemas.Formats()}, nil
}

// Print writes it for people, as the version of the named program.
func (v Version) Print(w io.Writer, name string) error {
	fmt.Fprintln(w, name, v.Build)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "go\t%s %s\nsimd\t%s\n", v.Go, v.Platform, v.SIMD)
	for i, f := range v.Formats {
		title := ""
		if i == 0 {
			title = "formats"
		}
		fmt.Fprintf(t, "%s\t%s\twrites %d\treads %s\n", title, f.Kind, f.Writes, strings.Trim(fmt.Sprint(f.Reads), "[]"))
	}
	return t.Flush()
}

// versionFlag is what all programs have.
type versionFlag bool

// BeforeReset runs where the flag is given, before flags that are missing are missed.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	v, err := ThisVersion()
	if err != nil {
		return err
	}
	if err := v.Print(app.Stdout, app.Model.Name); err != nil {
		return err
	}
	app.Exit(0)
	return nil
}
