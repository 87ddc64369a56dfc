package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/load"
	"github.com/adastream/adastream/pipeline/store"
)

type loadCommand struct {
	cli.Store  `group:"Object store:"`
	Name       string    `help:"Name of the load, the same for all parts. A load resumes under its name, and is complete once done; another name is another load." default:"load"`
	Part       string    `help:"Part to load, from 0, and the number of parts. Each part is an independent process. Parts take whole files, or blocks of rows if there are fewer files than parts." default:"0/1" placeholder:"I/N"`
	At         time.Time `name:"timestamp" help:"Timestamp of all rows, in RFC 3339. Of versions of an ID without a version of their own the latest wins. Default: the start of the load, so that later messages win." placeholder:"TIME"`
	Abandon    bool      `help:"End an unfinished load of another name where it stands."`
	Poison     bool      `help:"Do not stop when nearly all rows are refused: quarantine them and continue." name:"accept-poison"`
	JSON       bool      `help:"Print a summary of the load as JSON."`
	Ops        string    `name:"ops-listen" help:"Address of /livez, /readyz and /metrics while it runs. Default: none." placeholder:"HOST:PORT"`
	Encoder    string    `group:"Input files:" help:"Name and version of the model that made the vectors, if the files do not name it."`
	fileFlags  `group:"Input files:"`
	FlushRows  int      `help:"Number of rows of a shard after which they are committed." default:"65536"`
	FlushBytes int64    `help:"Decoded bytes of a shard after which its rows are committed. 0 is 32 MiB, or less with more than 16 shards." default:"0"`
	Threads    int      `help:"Number of segments to write in parallel. 0 is the number of CPUs." default:"0"`
	IDs        string   `group:"Input files:" help:"File with the IDs of a matrix such as .npy, which holds none: one per line, or a .npy array of integers. Only with a single file." name:"ids" placeholder:"FILE"`
	FirstID    int64    `group:"Input files:" help:"Without --ids, the ID of the first vector of a matrix. Vectors are numbered on from file to file." name:"first-id" default:"0"`
	Files      []string `arg:"" help:"Files of Arrow, Parquet, JSON lines or matrices of vectors, or s3:// URLs, whose last part may be a pattern. All parts need the same files in the same order."`
}

// Validate refuses what options take for the default; the parser of flags asks it.
func (c *loadCommand) Validate() error { return cli.Positive("--flush-rows", c.FlushRows) }

// loaded is what a part came to, as scripts read it.
type loaded struct {
	Name        string         `json:"name"`
	Part        int            `json:"part"`
	Parts       int            `json:"parts"`
	Already     bool           `json:"already"` // true: nothing was left to do
	Timestamp   time.Time      `json:"timestamp"`
	Read        int64          `json:"read"`
	Passed      int64          `json:"passed"`
	Rows        int64          `json:"rows"`
	Deletes     int64          `json:"deletes"`
	Quarantined map[string]int `json:"quarantined"`
	Seconds     float64        `json:"seconds"`
}

func (c *loadCommand) Run(ctx context.Context, l *cli.Logging) error {
	log := l.Logger()
	part, parts, err := parsePart(c.Part)
	if err != nil {
		return cli.Usage(err)
	}
	if c.IDs != "" && len(c.Files) != 1 {
		return cli.Usage(fmt.Errorf("--ids %s: needs exactly one file, got %d", c.IDs, len(c.Files)))
	}
	level, err := cli.Level(log)
	if err != nil {
		return err
	}
	if err := c.expand(ctx); err != nil {
		return cli.Usage(err)
	}
	known, err := c.known(ctx)
	if err != nil {
		return cli.Usage(err)
	}
	registry := cli.NewRegistry()
	ops, err := openOps(ctx, c.Ops)
	if err != nil {
		return err
	}
	defer ops.Close()
	shards, err := c.OpenShards(ctx, log, cli.Wait{Why: ops.Waiting})
	if err != nil {
		return err
	}
	ops.Use(cli.OpsHandler(registry, func() error { return nil }))
	bar, end := progress(fmt.Sprintf("part %d/%d", part, parts), -1, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"))
	o := load.Options{
		Shards: shards, Level: level, Name: c.Name, Part: part, Parts: parts, Files: c.Files, Timestamp: c.At, Abandon: c.Abandon, AcceptPoison: c.Poison,
		Input:     load.Input(known, fmt.Sprint(c.Format, c.ID, c.Vector, c.IDs, c.FirstID)),
		FlushRows: c.FlushRows, FlushBytes: c.FlushBytes, Threads: c.Threads, Logger: log, Metrics: load.NewMetrics(registry),
		Open: func(name string, first, skip int64) (*files.Reader, error) {
			return c.open(ctx, name, first, skip, log)
		},
		Read: func(rows int64) { _ = bar.Add64(rows) },
	}
	if err := o.Validate(); err != nil {
		return cli.Usage(err)
	}
	if err := c.check(ctx, shards[0].Spec().Encoder, log); err != nil {
		return cli.Usage(err)
	}
	begun := time.Now()
	report, err := load.Run(ctx, o)
	end()
	if err != nil {
		return err
	}
	took := time.Since(begun)
	log.Info("loaded", "load", c.Name, "part", part, "parts", parts, "already", report.Already, "timestamp", report.Timestamp, "rows", report.Rows, "deletes", report.Deletes,
		"quarantined", report.Quarantined, "passed", report.Passed, "commits", report.Commits, "took", took.Round(time.Millisecond))
	if c.JSON {
		return printJSON(loaded{c.Name, part, parts, report.Already, report.Timestamp, report.Read, report.Passed, report.Rows, report.Deletes, report.Refused, took.Seconds()})
	}
	if report.Already {
		fmt.Printf("part %d/%d of load %s: already loaded\n", part, parts, c.Name)
		return nil
	}
	fmt.Printf("part %d/%d of load %s: %s and %s loaded, %d quarantined, %d already present, in %.1f s\n", part, parts, c.Name, counted(report.Rows, "row"), counted(report.Deletes, "delete"), report.Quarantined, report.Passed, took.Seconds())
	return nil
}

// parsePart reads i/n.
func parsePart(text string) (part, parts int, err error) {
	i, n, ok := strings.Cut(text, "/")
	if ok {
		part, err = strconv.Atoi(i)
	}
	if ok && err == nil {
		parts, err = strconv.Atoi(n)
	}
	if !ok || err != nil || part < 0 || part >= parts {
		return 0, 0, fmt.Errorf("--part %q, allowed: i/n with i from 0 to n-1, as 0/4", text)
	}
	return part, parts, nil
}

const remote = "s3://"

// expand puts the objects in the place of an s3:// URL whose last part is a pattern, as a shell does with that of a file.
func (c *loadCommand) expand(ctx context.Context) error {
	var names []string
	for _, name := range c.Files {
		if !strings.HasPrefix(name, remote) || !strings.Contains(name, "*") {
			names = append(names, name)
			continue
		}
		b, pattern, err := c.object(ctx, name)
		if err != nil {
			return err
		}
		u, err := url.Parse(name)
		if err != nil {
			return err
		}
		folder, _ := path.Split(u.Path)
		before := len(names)
		for info, err := range b.List(ctx, "", "") {
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if ok, err := path.Match(pattern, info.Key); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			} else if ok {
				u.Path, u.RawPath = folder+info.Key, ""
				names = append(names, u.String())
			}
		}
		if len(names) == before {
			return fmt.Errorf("%s: no such object", name)
		}
	}
	c.Files = names
	return nil
}

// known is what is known of the files before they are read, that of ids included.
func (c *loadCommand) known(ctx context.Context) (known []load.Known, err error) {
	names := c.Files
	if c.IDs != "" {
		names = append(slices.Clone(names), c.IDs)
	}
	for _, name := range names {
		if strings.HasPrefix(name, remote) {
			b, key, err := c.object(ctx, name)
			if err != nil {
				return nil, err
			}
			info, err := b.Stat(ctx, key)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			known = append(known, load.Known{Name: key, Size: info.Size})
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s: not a regular file, and only those can be read again after a stop", name)
		}
		known = append(known, load.Known{Name: info.Name(), Size: info.Size()})
	}
	return known, nil
}

// check opens the files that are here, so that a load which cannot be is not begun.
func (c *loadCommand) check(ctx context.Context, encoder string, log *slog.Logger) error {
	for _, name := range c.Files {
		if strings.HasPrefix(name, remote) {
			continue
		}
		r, err := c.open(ctx, name, 0, 0, log)
		if err == nil {
			err = errors.Join(load.CheckEncoder(r, encoder), r.Close())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// object is what an s3:// URL names, and the bucket that it is in.
func (c *loadCommand) object(ctx context.Context, name string) (store.Bucket, string, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, "", err
	}
	folder, key := path.Split(u.Path)
	if key == "" {
		return nil, "", fmt.Errorf("%s: does not name an object, allowed: s3://bucket/path/file", name)
	}
	u.Path = folder
	in := c.Store
	in.Store = u.String()
	b, err := in.Bucket(ctx, nil)
	return b, key, err
}

func (c *loadCommand) open(ctx context.Context, name string, first, skip int64, log *slog.Logger) (*files.Reader, error) {
	o := c.options(log, name)
	o.Encoder, o.IDs, o.FirstID, o.Skip = c.Encoder, c.IDs, c.FirstID+first, skip
	if !strings.HasPrefix(name, remote) {
		return files.Open(name, o)
	}
	if o.Format == "" {
		_, key, err := c.object(ctx, name)
		if err != nil {
			return nil, err
		}
		o.Format = files.FormatOf(key) // of its copy the name has the end only
	}
	temporary, err := c.download(ctx, name, log)
	if err != nil {
		return nil, err
	}
	r, err := files.Open(temporary, o)
	return r, errors.Join(err, os.Remove(temporary)) // which the reader has open
}

// download copies an object to a file, since formats are read from their end or twice.
func (c *loadCommand) download(ctx context.Context, name string, log *slog.Logger) (file string, err error) {
	b, key, err := c.object(ctx, name)
	if err != nil {
		return "", err
	}
	to, err := os.CreateTemp("", "adastream-load-*"+path.Ext(key))
	if err != nil {
		return "", err
	}
	if err = errors.Join(copyObject(ctx, to, b, key, log), to.Close()); err != nil {
		return "", errors.Join(err, os.Remove(to.Name()))
	}
	return to.Name(), nil
}

// rest is how many bytes are asked for at a time of an object that broke off: few enough that a slow line has them within the patience.
const rest = 4 << 20

// copyObject goes on where a download broke off, which large ones do: begun anew they might never end.
func copyObject(ctx context.Context, to io.Writer, b store.Bucket, key string, log *slog.Logger) error {
	insist := func(do func(context.Context) error) error {
		return cli.Wait{}.Until(ctx, log, "object cannot be read, will try again", do)
	}
	var was store.Info
	err := insist(func(ctx context.Context) (err error) { was, err = b.Stat(ctx, key); return err })
	if err != nil {
		return err
	}
	var from io.ReadCloser
	err = insist(func(context.Context) (err error) { from, _, err = b.Open(ctx, key); return err }) // it is read for longer than one waits for it
	if err != nil {
		return err
	}
	n, err := io.Copy(to, from)
	err = errors.Join(err, from.Close())
	if !errors.Is(err, store.ErrTransient) {
		return err
	}
	log.Warn("a download was interrupted, resuming it", "object", key, "bytes", n, "of", was.Size, "error", err)
	for n < was.Size {
		var part []byte
		err := insist(func(ctx context.Context) (err error) {
			part, err = b.Range(ctx, key, n, min(rest, was.Size-n))
			return err
		})
		if err == nil {
			_, err = to.Write(part)
		}
		if err != nil {
			return err
		}
		n += int64(len(part))
	}
	var is store.Info
	err = insist(func(ctx context.Context) (err error) { is, err = b.Stat(ctx, key); return err })
	if err == nil && (is.Size != was.Size || !is.Modified.Equal(was.Modified)) {
		err = errors.New("was replaced while being read")
	}
	return err
}
