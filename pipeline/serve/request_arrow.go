package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/schemas"
)

// parameters are the names of the search options of an Arrow request, which stand in its URL.
var parameters = []string{"k", "target_recall", "budget.microseconds", "budget.lists", "budget.bytes", "effort", "exact",
	"plan.nprobe", "plan.margin", "plan.scan_dims", "plan.refine", "plan.originals", "dims", "fields", "filter", "encoder",
	"min_score", "group_by", "group_size", "group_values", "min_offsets", "max_staleness_seconds", "wait_seconds"}

// ofBodies are names that only a JSON request has, in its body.
var ofBodies = []string{"vector", "vectors", "vectors_f32", "vectors_f16", "like", "include_vector", "budget", "plan"}

// refuseParameters refuses search options in the URL of a JSON request, which would be ignored.
func refuseParameters(r *http.Request) error {
	for name := range r.URL.Query() {
		if slices.Contains(parameters, name) || slices.Contains(ofBodies, name) {
			return invalid(name+": given in the URL of a JSON request", "in the body")
		}
	}
	return nil
}

// readArrow reads a request whose body is an Arrow stream of queries and whose URL has the options.
func (n *Node) readArrow(r *http.Request) (func(*schemas.Spec) (*queries, error), *searchOptions, error) {
	o, err := parseParameters(r.URL.RawQuery)
	if err != nil {
		return nil, nil, err
	}
	body, err := readAll(&bytes.Buffer{}, r)
	if err != nil {
		return nil, nil, err
	}
	return func(spec *schemas.Spec) (*queries, error) {
		vectors, err := readStream(body, spec, n.o.Level)
		return &queries{field: schemas.ColumnVector, many: true, vectors: vectors}, err
	}, o, nil
}

// presize is how many bytes a request gets because it says that it will send them; more come with the bytes.
const presize = 2 << 20

func readAll(body *bytes.Buffer, r *http.Request) ([]byte, error) {
	body.Grow(int(min(max(r.ContentLength, 0), presize)) + bytes.MinRead)
	if _, err := body.ReadFrom(r.Body); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, malformed("the body ends early: "+err.Error(), "all of it")
	}
	return body.Bytes(), nil
}

// parseParameters reads the options in the URL of an Arrow request, strictly.
func parseParameters(raw string) (*searchOptions, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformed("URL: "+err.Error(), "parameters "+strings.Join(parameters, ", "))
	}
	o, plan := &searchOptions{Fields: []string{}}, &planRequest{}
	budget := func() *recall.Budget {
		if o.Budget == nil {
			o.Budget = &recall.Budget{}
		}
		return o.Budget
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		given := values[name]
		if len(given) > 1 {
			return nil, invalid(fmt.Sprintf("%s: given %d times", name, len(given)), "once")
		}
		value := given[0]
		var err error
		switch name {
		case "k":
			o.K = new(int)
			err = parseInt(name, value, o.K)
		case "plan.nprobe":
			o.Plan = plan
			err = parseInt(name, value, &plan.NProbe)
		case "plan.scan_dims":
			err = parseInt(name, value, &plan.ScanDims)
		case "plan.refine":
			err = parseInt(name, value, &plan.Refine)
		case "plan.originals":
			err = parseBool(name, value, &plan.Originals)
		case "target_recall":
			o.TargetRecall = new(float64)
			err = parseFloat(name, value, o.TargetRecall)
		case "budget.microseconds":
			budget().Microseconds = new(float64)
			err = parseFloat(name, value, o.Budget.Microseconds)
		case "budget.lists":
			budget().Lists = new(float64)
			err = parseFloat(name, value, o.Budget.Lists)
		case "budget.bytes":
			budget().Bytes = new(float64)
			err = parseFloat(name, value, o.Budget.Bytes)
		case "effort":
			o.Effort = new(float64)
			err = parseFloat(name, value, o.Effort)
		case "plan.margin":
			err = parseFloat(name, value, &plan.Margin)
		case "dims":
			err = parseInt(name, value, &o.Dims)
		case "exact":
			err = parseBool(name, value, &o.Exact)
		case "fields":
			if value != "" {
				o.Fields = strings.Split(value, ",")
			}
		case "filter":
			raw := json.RawMessage(value)
			o.Filter = &raw
		case "encoder":
			o.Encoder = &value
		case "min_score":
			o.MinScore = new(float64)
			err = parseFloat(name, value, o.MinScore)
		case "group_by":
			o.GroupBy = &value
		case "group_size":
			o.GroupSize = new(int)
			err = parseInt(name, value, o.GroupSize)
		case "group_values":
			raw := json.RawMessage(value)
			if o.GroupValues = &raw; !json.Valid(raw) {
				err = invalid(fmt.Sprintf("%s: %.40s", name, value), "a JSON array of values")
			}
		case "min_offsets":
			if json.Unmarshal([]byte(value), &o.MinOffsets) != nil {
				err = invalid(fmt.Sprintf("%s: %.40s", name, value), "a JSON object of partitions and offsets")
			} else {
				err = refuseNulls(name, []byte(value))
			}
		case "max_staleness_seconds":
			o.MaxStaleness = new(float64)
			err = parseFloat(name, value, o.MaxStaleness)
		case "wait_seconds":
			o.Wait = new(float64)
			err = parseFloat(name, value, o.Wait)
		default:
			err = invalid(name+": no such parameter", strings.Join(parameters, ", "))
		}
		if err != nil {
			return nil, err
		}
	}
	if o.Plan == nil && *plan != (planRequest{}) {
		return nil, invalid("plan.nprobe: missing", "a number beside plan.margin, plan.scan_dims, plan.refine and plan.originals")
	}
	return o, nil
}

func parseBool(name, value string, into *bool) (err error) {
	if *into, err = strconv.ParseBool(value); err != nil {
		return invalid(name+": "+value, "true or false")
	}
	return nil
}

func parseInt(name, value string, into *int) (err error) {
	if *into, err = strconv.Atoi(value); err != nil {
		return invalid(name+": "+value, "an integer")
	}
	return nil
}

func parseFloat(name, value string, into *float64) (err error) {
	if *into, err = strconv.ParseFloat(value, 64); err != nil || math.IsNaN(*into) || math.IsInf(*into, 0) {
		return invalid(name+": "+value, "a number")
	}
	return nil
}
