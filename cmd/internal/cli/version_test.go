package cli

import (
	"bytes"
	"errors"
	"io"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/avx"
)

func TestBuildOf(t *testing.T) {
	settings := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}
	for _, c := range []struct {
		name, stamp string
		info        *debug.BuildInfo
		want, text  string
		revision    string
		dirty       bool
	}{
		{"without modules", "", nil, "devel", "devel", "", false},
		{"go build without a repository", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel", "devel", "", false},
		{"go build of a changed checkout", "", &debug.BuildInfo{Main: debug.Module{Version: "v0.1.1-0.20261127-abc+dirty"}, Settings: settings},
			"0.1.1-0.20261127-abc", "0.1.1-0.20261127-abc (abc, changed)", "abc", true},
		{"go install of a release", "", &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}}, "0.1.0", "0.1.0", "", false},
		{"a release", "0.1.0+def", &debug.BuildInfo{Main: debug.Module{Version: "v9.9.9"}, Settings: settings}, "0.1.0", "0.1.0 (def)", "def", false},
		{"a release of no known revision", "0.1.0-rc.1", nil, "0.1.0-rc.1", "0.1.0-rc.1", "", false},
	} {
		b := buildOf(c.stamp, c.info)
		if b.Version != c.want || b.String() != c.text || b.Revision != c.revision || b.Dirty != c.dirty || b.Go == "" || b.Platform == "" {
			t.Errorf("%s: %+v, %q", c.name, b, b)
		}
	}
}

// The flag answers whatever else is missing, unless the kernels that are asked for do not run here.
func TestVersionFlag(t *testing.T) {
	type needy struct {
		Store string `required:""`
		Logging
	}
	ask := func() (string, error) {
		var out bytes.Buffer
		ended := errors.New("ended")
		parser, err := newParser("tool", &needy{}, kong.Writers(&out, io.Discard), kong.Exit(func(int) { panic(ended) }))
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if r := recover(); r != nil && r != ended {
					panic(r)
				}
			}()
			_, err = parser.Parse([]string{"--version"})
		}()
		return out.String(), err
	}
	t.Setenv(avx.EnvLevel, "generic")
	out, err := ask()
	if err != nil || !strings.HasPrefix(out, "tool "+ThisBuild().String()+"\n") || !strings.Contains(out, "simd     generic\n") || !strings.Contains(out, "manifest    writes 2  reads 1 2\n") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Setenv(avx.EnvLevel, "mmx")
	if out, err = ask(); err == nil || !strings.Contains(err.Error(), "mmx") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestBuildMetric(t *testing.T) {
	const want = `# HELP adastream_build_info 1, with the build as labels.
# TYPE adastream_build_info gauge
adastream_build_info{go="go1",revision="abc",version="0.1.0"} 1
`
	if err := testutil.CollectAndCompare(Build{Version: "0.1.0", Revision: "abc", Go: "go1"}.collector(), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
