package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
)

type searchCommand struct {
	cli.Node
	Like         string   `help:"Id of a row whose neighbours are wanted." xor:"query" required:"" placeholder:"ID"`
	Vector       string   `help:"File with the query, a JSON array of numbers; - is standard input." xor:"query" required:"" placeholder:"FILE"`
	K            int      `help:"How many neighbours." short:"k" default:"10"`
	TargetRecall *float64 `help:"Recall@10 to aim at; default: the index's." xor:"how"`
	Effort       *float64 `help:"0 for the cheapest measured plan to 1 for the best." xor:"how"`
	MaxMicros    float64  `help:"The best plan that takes no more microseconds, on average." xor:"how"`
	MaxLists     float64  `help:"The best plan that probes no more lists, on average." xor:"how"`
	MaxBytes     float64  `help:"The best plan that reads no more bytes of codes and rows, on average." xor:"how"`
	Exact        bool     `help:"Compare with every row." xor:"how"`
	Dims         int      `help:"Compare so many dimensions, a level of the ladder; 0: all." default:"0"`
	Filter       string   `help:"Only rows whose attributes meet this, as JSON: see docs/filters.md." placeholder:"JSON"`
	Encoder      string   `help:"Encoder that made the query: refused if the rows are of another one."`
	JSON         bool     `help:"Print the answer as it came."`
}

// searchAnswer is what the tool shows of an answer; schemas/openapi.yaml has all of it.
type searchAnswer struct {
	Hits []struct {
		ID         string         `json:"id"`
		Score      float64        `json:"score"`
		Attributes map[string]any `json:"attributes"`
	} `json:"hits"`
	Snapshot struct {
		Generation int64     `json:"generation"`
		Epoch      string    `json:"epoch"`
		AsOf       time.Time `json:"as_of"`
		LiveRows   int64     `json:"live_rows"`
	} `json:"snapshot"`
	Usage struct {
		Exact        bool  `json:"exact"`
		Lists        int   `json:"lists_probed"`
		Codes        int   `json:"codes_scanned"`
		Refined      int   `json:"refined"`
		Matching     *int  `json:"matching"`
		Microseconds int64 `json:"microseconds"`
	} `json:"usage"`
	ExpectedRecall *float64  `json:"expected_recall"`
	Interval       []float64 `json:"expected_interval"`
	Degraded       string    `json:"degraded"`
}

// say adds to a request how to search.
func (c *searchCommand) say(body map[string]any) error {
	for name, v := range map[string]*float64{"target_recall": c.TargetRecall, "effort": c.Effort} {
		if v != nil {
			body[name] = *v
		}
	}
	for name, v := range map[string]float64{"microseconds": c.MaxMicros, "lists": c.MaxLists, "bytes": c.MaxBytes} {
		if v != 0 {
			body["budget"] = map[string]float64{name: v}
		}
	}
	if c.Exact {
		body["exact"] = true
	}
	if c.Filter != "" {
		if !json.Valid([]byte(c.Filter)) {
			return cli.Usage(fmt.Errorf(`--filter %s: no JSON, allowed: an object such as {"lang": "en"}`, c.Filter))
		}
		body["filter"] = json.RawMessage(c.Filter)
	}
	if c.Encoder != "" {
		body["encoder"] = c.Encoder
	}
	if c.Dims != 0 {
		body["dims"] = c.Dims
	}
	return nil
}

func (c *searchCommand) Run(ctx context.Context) error {
	body := map[string]any{"k": c.K}
	if c.Like != "" {
		body["like"] = c.Like
	} else {
		vector, err := readVector(c.Vector)
		if err != nil {
			return cli.Usage(fmt.Errorf("--vector %s: %w", c.Vector, err))
		}
		body["vector"] = vector
	}
	if err := c.say(body); err != nil {
		return err
	}
	client, err := c.Client()
	if err != nil {
		return err
	}
	raw, err := postSearch(ctx, client, c.URL, body)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := os.Stdout.Write(raw)
		return err
	}
	var a searchAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("answer of %s: %w", c.URL, err)
	}
	a.print(os.Stdout)
	return nil
}

func readVector(name string) (v []float32, err error) {
	in := os.Stdin
	if name != "-" {
		if in, err = os.Open(name); err != nil {
			return nil, err
		}
		defer in.Close()
	}
	return v, json.NewDecoder(in).Decode(&v)
}

// postSearch returns the body of a 200 answer; anything else is an error with the problem's text, and a fault of the call
// when the node says so.
func postSearch(ctx context.Context, client *http.Client, url string, request any) ([]byte, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/v1/search", bytes.NewReader(body))
	if err != nil {
		return nil, cli.Usage(fmt.Errorf("--url: %w", err))
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK:
		return raw, nil
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
		return nil, cli.Usage(refusal(response.Status, raw))
	default:
		return nil, refusal(response.Status, raw)
	}
}

// refusal is what a problem document says, or the body itself if it is none.
func refusal(status string, body []byte) error {
	var p struct{ Detail, Allowed string }
	switch {
	case json.Unmarshal(body, &p) != nil || p.Detail == "":
		return fmt.Errorf("%s: %s", status, body)
	case p.Allowed != "":
		return fmt.Errorf("%s: %s (allowed: %s)", status, p.Detail, p.Allowed)
	default:
		return fmt.Errorf("%s: %s", status, p.Detail)
	}
}

// print shows the hits as a table, and below it what the answer cost.
func (a *searchAnswer) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, h := range a.Hits {
		fmt.Fprintf(t, "  %.3f\t%s", h.Score, h.ID)
		names := make([]string, 0, len(h.Attributes))
		for name := range h.Attributes {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			value := h.Attributes[name]
			if value == nil {
				value = "-"
			}
			fmt.Fprintf(t, "\t%s: %v", name, value)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	how := fmt.Sprintf("%d lists, %d codes, %d rows refined", a.Usage.Lists, a.Usage.Codes, a.Usage.Refined)
	if a.Usage.Matching != nil {
		how = fmt.Sprintf("%d match the filter; %s", *a.Usage.Matching, how)
	}
	if a.Usage.Exact {
		how = fmt.Sprintf("exact over %d rows", a.Usage.Refined)
	}
	if a.ExpectedRecall != nil {
		how += fmt.Sprintf(", recall@10 to expect %.3f", *a.ExpectedRecall)
	}
	if len(a.Interval) == 2 {
		how += fmt.Sprintf(" (%.3f to %.3f)", a.Interval[0], a.Interval[1])
	}
	if a.Degraded != "" {
		how += ", less than asked for: " + a.Degraded
	}
	of := fmt.Sprintf("%d rows", a.Snapshot.LiveRows)
	if a.Snapshot.Epoch != "" {
		of += " in epoch " + a.Snapshot.Epoch
	}
	fmt.Fprintf(w, "generation %d of %s; %s; %d µs\n", a.Snapshot.Generation, of, how, a.Usage.Microseconds)
}
