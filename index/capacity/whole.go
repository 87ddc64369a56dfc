package capacity

import (
	"cmp"
	"math"
	"time"
)

// tail is p99 over p50 of searches on one node: 1.9 on the corpus, 2.15 on WordNet, 2 on the sample, README.md.
const tail = 2

// hours of a month.
const hours = 365.25 * 24 / 12

// request is what all shards together make of a query: each has to answer. Their times are taken to be independent and log-normal.
func request(s sizes, p *Plan) {
	const of = "request"
	shards := float64(max(1, p.Wish.Shards))
	p50 := cmp.Or(p.Wish.P50, time.Duration(p.Value("query node", "core seconds of a query")*1e9)).Seconds()
	p99 := cmp.Or(p.Wish.P99.Seconds(), tail*p50)
	sigma := math.Log(p99/p50) / normal(0.99)
	slowest := func(q float64) float64 { return p50 * math.Exp(sigma*normal(math.Pow(q, 1/shards))) }
	p.add(of, "p50 of a shard", p50, Seconds, "--p50, or the core seconds of a query: on an idle node")
	p.add(of, "p99 of a shard", p99, Seconds, "--p99, or %v times that, as measured", tail)
	p.add(of, "asked of a shard", math.Pow(0.99, 1/shards), Share, "0.99^(1/%v): as many of a shard's answers have to be in time for 0.99 of all requests to be", shards)
	p.add(of, "p50 of all", slowest(0.5), Seconds, "the slowest of %v shards: their quantile 0.5^(1/%v), log-normal by p50 and p99", shards, shards)
	p.add(of, "p99 of all", slowest(0.99), Seconds, "the same with 0.99")
}

// normal is the quantile of the normal distribution.
func normal(q float64) float64 { return math.Sqrt2 * math.Erfinv(2*q-1) }

// money is what a month of the whole index costs, by the prices that are known.
func money(s sizes, p *Plan) {
	const of = "money a month"
	prices, w := p.Wish.Prices, p.Wish
	if !prices.known() {
		return
	}
	shards, sum := float64(max(1, w.Shards)), 0.0
	add := func(name string, price, amount float64, format string, args ...any) {
		if price > 0 {
			p.add(of, name, price*amount, Money, format, args...)
			sum += price * amount
		}
	}
	nodes := p.Value("query node", "nodes")
	add("query nodes", prices.MachineHour, shards*nodes*hours, "%v shards x %v machines x %.1f hours", shards, nodes, hours)
	add("builders", prices.MachineHour, shards*hours, "%v machines x %.1f hours", shards, hours)
	ingestors := p.Value("ingestors", "processes") * 2 / w.Cores
	add("ingestors", prices.MachineHour, shards*ingestors*hours, "%v shards x %.3g of a machine x %.1f hours", shards, ingestors, hours)
	stored := p.Value("store", "stored") / (1 << 30)
	add("stored", prices.GiBMonth, shards*stored, "%v shards x %.1f GiB", shards, stored)
	const millions = hours * 3600 / 1e6 // of seconds
	writes, reads := p.Value("store", "PUTs")+p.Value("store", "LISTs"), p.Value("store", "GETs")
	add("PUTs and LISTs", prices.MillionWrites, shards*writes*millions, "%v shards x %.3g/s", shards, writes)
	add("GETs", prices.MillionReads, shards*reads*millions, "%v shards x %.3g/s", shards, reads)
	p.add(of, "sum", sum, Money, "of what has a price here: no disks of machines, no Kafka, no traffic")
}
