package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/quarantine"
	"github.com/adastream/adastream/schemas"
)

type quarantineCommand struct {
	Ls     quarantineLsCommand     `cmd:"" help:"List refused messages and rows: topic, partition, offset, row and reason."`
	Show   quarantineShowCommand   `cmd:"" help:"Print what was refused at an offset, with its payload decoded as far as possible."`
	Replay quarantineReplayCommand `cmd:"" help:"Produce refused rows, as they are or corrected, once. Each becomes the newest version of its ID, unless it has a version column."`
	Drop   quarantineDropCommand   `cmd:"" help:"Give up refused rows. They stay in the store, but are no longer listed."`
}

type quarantineLsCommand struct {
	cli.Index
	Partition int  `help:"Only this partition. -1 is all." default:"-1"`
	All       bool `help:"List replayed and dropped ones too, with their outcome."`
	JSON      bool `help:"Print one JSON object per line."`
}

func (c *quarantineLsCommand) Run(ctx context.Context, l *cli.Logging) error {
	index, err := c.ReadIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	partitions, err := chosenPartitions(index, c.Partition)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, p := range partitions {
		resolved, err := index.Resolved(ctx, p)
		if err != nil {
			return errors.Join(t.Flush(), err)
		}
		for q, err := range quarantine.Items(ctx, index, p) {
			r := resolved[quarantine.PlaceOf(q)]
			if err == nil && (c.All || r == nil || !r.Final()) {
				err = c.print(t, q, r)
			}
			if err != nil {
				return errors.Join(t.Flush(), err) // what was found before is shown
			}
		}
	}
	return t.Flush()
}

func (c *quarantineLsCommand) print(t io.Writer, q ingest.Quarantined, r *schemas.Resolution) error {
	if c.JSON {
		return printRefusal(q, r)
	}
	_, err := fmt.Fprintf(t, "%s\tpartition %d\toffset %d\t%s\t%s\t%s%s\n", quoted(q.Topic), q.Partition, q.Offset, rowName(q.Row), quoted(q.Reason), escaped(q.Detail), became(r))
	return err
}

// listedRefusal is what was refused as scripts read it, with the names of its file.
type listedRefusal struct {
	Topic      string              `json:"topic"`
	Partition  int32               `json:"partition"`
	Offset     int64               `json:"offset"`
	Row        int32               `json:"row"` // -1: the message as a whole
	Reason     string              `json:"reason"`
	Detail     string              `json:"detail"`
	Timestamp  time.Time           `json:"timestamp"`
	Payload    []byte              `json:"payload"`
	Resolution *schemas.Resolution `json:"resolution,omitempty"`
}

func printRefusal(q ingest.Quarantined, r *schemas.Resolution) error {
	return json.NewEncoder(os.Stdout).Encode(listedRefusal{q.Topic, q.Partition, q.Offset, q.Row, q.Reason, q.Detail, time.UnixMilli(q.Timestamp).UTC(), q.Payload, r})
}

// became says what became of something that was refused.
func became(r *schemas.Resolution) string {
	if r == nil {
		return ""
	}
	by := fmt.Sprintf("by %s at %s", escaped(r.By), r.Created.Format(time.RFC3339))
	switch {
	case !r.Final():
		return fmt.Sprintf("; a replay %s is unfinished", by)
	case r.Reason != "":
		return fmt.Sprintf("; %s %s: %s", r.State, by, escaped(r.Reason))
	}
	return fmt.Sprintf("; %s %s", r.State, by)
}

// chosenPartitions are all of the index for -1.
func chosenPartitions(index *commit.Log, chosen int) ([]int, error) {
	all := index.Partitions()
	switch {
	case chosen == -1:
		return all, nil
	case index.Spec().Shards == 1 && !slices.Contains(all, chosen):
		return nil, cli.Usage(fmt.Errorf("--partition %d: does not exist, allowed: 0 to %d", chosen, len(all)-1))
	case !slices.Contains(all, chosen):
		return nil, cli.Usage(fmt.Errorf("--partition %d: does not belong to shard %d, allowed: %v", chosen, index.Shard(), all))
	}
	return []int{chosen}, nil
}

func rowName(row int32) string {
	if row == ingest.WholeMessage {
		return "message"
	}
	return fmt.Sprintf("row %d", row)
}

type quarantineShowCommand struct {
	cli.Index
	Partition int    `arg:"" help:"Partition."`
	Offset    int64  `arg:"" help:"Offset of the message."`
	Row       *int32 `arg:"" optional:"" help:"Row of the message. Default: all that were refused."`
	Raw       bool   `help:"Write the bytes of the payload to standard output, to correct them. There must be only one." xor:"how"`
	JSON      bool   `help:"Print one JSON object per line, as ls does." xor:"how"`
}

func (c *quarantineShowCommand) Run(ctx context.Context, l *cli.Logging) error {
	index, err := c.ReadIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	var found []ingest.Quarantined
	for q, err := range quarantine.Items(ctx, index, c.Partition) {
		if err != nil {
			return err
		}
		if q.Offset > c.Offset {
			break
		}
		if q.Offset == c.Offset && (c.Row == nil || *c.Row == q.Row) {
			found = append(found, q)
		}
	}
	switch {
	case len(found) == 0:
		return cli.Usage(fmt.Errorf("partition %d, offset %d: nothing was refused there: see `adastream quarantine ls`", c.Partition, c.Offset))
	case c.Raw && len(found) > 1:
		return cli.Usage(fmt.Errorf("--raw: %d rows of offset %d were refused, choose one: the first is %d", len(found), c.Offset, found[0].Row))
	case c.Raw:
		_, err := os.Stdout.Write(found[0].Payload)
		return err
	}
	resolved, err := index.Resolved(ctx, c.Partition)
	if err != nil {
		return err
	}
	for i, q := range found {
		r := resolved[quarantine.PlaceOf(q)]
		if c.JSON {
			if err := printRefusal(q, r); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			fmt.Println()
		}
		if err := showQuarantined(os.Stdout, index.Spec(), q, r); err != nil {
			return err
		}
	}
	return nil
}

// showQuarantined prints what was refused and why. The payload is of whoever sent it, so all text of it is quoted.
func showQuarantined(w io.Writer, spec *schemas.Spec, q ingest.Quarantined, r *schemas.Resolution) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "place\t%s, partition %d, offset %d, %s\n", quoted(q.Topic), q.Partition, q.Offset, rowName(q.Row))
	fmt.Fprintf(t, "reason\t%s\ndetail\t%s\n", quoted(q.Reason), escaped(q.Detail))
	fmt.Fprintf(t, "timestamp\t%s\n", time.UnixMilli(q.Timestamp).UTC().Format(time.RFC3339Nano))
	if r != nil {
		fmt.Fprintf(t, "since\t%s\n", strings.TrimPrefix(became(r), "; "))
	}
	if !spec.ReadsArrow() {
		const most = 2000
		text, cut := q.Payload[:min(most, len(q.Payload))], len(q.Payload) > most
		fmt.Fprintf(t, "payload\t%d bytes\n\t%s\n", len(q.Payload), shortened(escaped(strings.ToValidUTF8(string(text), "\ufffd")), cut))
		return t.Flush()
	}
	batches, err := ingest.ReadPayload(q.Payload, ingest.Limits{})
	if err != nil {
		const most = 64
		fmt.Fprintf(t, "payload\t%d bytes, unreadable: %s\n\t%s\n", len(q.Payload), escaped(err.Error()), shortened(fmt.Sprintf("%q", q.Payload[:min(most, len(q.Payload))]), len(q.Payload) > most))
		return t.Flush()
	}
	rows := int64(0)
	for _, b := range batches {
		rows += b.NumRows()
	}
	fmt.Fprintf(t, "payload\t%s, %s\n", counted(len(q.Payload), "byte"), counted(rows, "row"))
	left := 5
	for _, b := range batches {
		for i := 0; i < int(b.NumRows()) && left > 0; i++ {
			showRow(t, b, i)
			left--
		}
	}
	if left == 0 && rows > 5 {
		fmt.Fprintf(t, "\t... and %s\n", counted(rows-5, "more row"))
	}
	return t.Flush()
}

func showRow(w io.Writer, b arrow.RecordBatch, row int) {
	const most = 32 // columns
	for i, column := range b.Columns() {
		if i == most {
			fmt.Fprintf(w, "  ...\tand %s\n", counted(len(b.Columns())-most, "more column"))
			return
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", quoted(b.ColumnName(i)), quoted(column.DataType().String()), valueText(column, row))
	}
}

// valueText is a value on one line, lists and text shortened.
func valueText(column arrow.Array, row int) string {
	if column.IsNull(row) {
		return "null"
	}
	list, ok := column.(array.ListLike)
	if !ok {
		return quoted(column.ValueStr(row))
	}
	const most = 6
	start, end := list.ValueOffsets(row)
	var values []string
	for i := start; i < min(end, start+most); i++ {
		values = append(values, valueText(list.ListValues(), int(i)))
	}
	text := strings.Join(values, ", ")
	if end-start > most {
		text += ", ..."
	}
	return fmt.Sprintf("[%s] of %d", text, end-start)
}

// escaped is a sentence on one line that cannot steer a terminal: it may quote a message, and quotes of its own stay as they
// are.
func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// quoted is s without quotes if it is short and plain.
func quoted(s string) string {
	const most = 120
	q := fmt.Sprintf("%q", s[:min(most, len(s))])
	if plain := q[1 : len(q)-1]; plain == s {
		return s
	}
	return shortened(q, len(s) > most)
}

func shortened(text string, cut bool) string {
	if cut {
		return text + "..."
	}
	return text
}
