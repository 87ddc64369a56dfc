package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// jobs are what a builder told of its work, by what it did, in seconds.
type jobs map[string]*work

type work struct {
	Times int     `json:"times"`
	All   float64 `json:"seconds"`
	Most  float64 `json:"most_seconds"`
	Last  float64 `json:"last_seconds"`
}

func (j jobs) add(what string, seconds float64) {
	w := j[what]
	if w == nil {
		w = &work{}
		j[what] = w
	}
	w.Times++
	w.All += seconds
	w.Most = max(w.Most, seconds)
	w.Last = seconds
}

// jobsOf reads a log in JSON with what is told for debugging.
func jobsOf(log string) (jobs, error) {
	j := jobs{}
	var began, trained time.Time
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var l struct {
			Time time.Time
			Msg  string
			Kind string
			Took string
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return nil, fmt.Errorf("log of the builder: %w: %s", err, line)
		}
		took, err := time.ParseDuration(cmp.Or(l.Took, "0s"))
		if err != nil {
			return nil, fmt.Errorf("log of the builder: %w: %s", err, line)
		}
		switch l.Msg {
		case "job started":
			if l.Kind == "rewrite" {
				began, trained = l.Time, time.Time{}
			}
		case "training":
			trained = l.Time
		case "measured":
			if !trained.IsZero() {
				j.add("train, of a rewrite", trained.Sub(began).Seconds())
			}
			j.add("measure, of a rewrite", took.Seconds())
		case "job landed":
			j.add(l.Kind, took.Seconds())
		case "published":
			j.add("publish", took.Seconds())
		case "collected garbage":
			j.add("collect garbage", took.Seconds())
		}
	}
	return j, nil
}

func (j jobs) print() {
	for _, what := range slices.Sorted(maps.Keys(j)) {
		w := j[what]
		fmt.Printf("  %-22s %d times, %.2f s in all, %.2f at most, %.2f the last\n", what, w.Times, w.All, w.Most, w.Last)
	}
}
