package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

type command struct {
	Store       string        `help:"S3 server, http://KEY:SECRET@host:port." required:"" env:"ADASTREAM_TEST_S3"`
	Port        int           `help:"The campaign's own broker takes free ports from here on, below those that connections get: one of them could take that of a broker that is away." default:"21000"`
	Brokers     int           `help:"Brokers of the campaign's own cluster: 1, which is killed in every fourth round, or 3 and more, of which one after the other is killed or stopped, so that leaders move." default:"1"`
	Seed        uint64        `help:"Of schedules, rows and queries; 0 takes the clock." default:"0"`
	First       int           `help:"Round to begin with, to come sooner to one that failed." default:"0"`
	Duration    time.Duration `help:"No round begins after it." default:"10m"`
	Kills       int           `help:"No round begins after so many kills; 0 is no limit." default:"0"`
	Faults      int           `help:"No round begins after so many faults of network and store; 0 is no limit." default:"0"`
	Window      time.Duration `help:"Time of a round in which faults begin." default:"12s"`
	RoundKills  int           `help:"Kills and stops in a round." default:"16"`
	RoundLines  int           `help:"Times in a round at which a line is bad." default:"12"`
	RoundStore  int           `help:"Times in a round at which the store fails a share of requests." default:"24"`
	RoundPoints int           `help:"Kills in a round at a put or a download." default:"6"`
	RoundClocks int           `help:"Clocks in a round that jump." default:"3"`
	RoundDisks  int           `help:"Times in a round at which a disk is full." default:"1"`
	Damages     int           `help:"Objects of the store that are damaged after each round." default:"2"`
	Items       int           `help:"Ids that rows are drawn from." default:"10000"`
	Rate        int           `help:"Rows a second." default:"1000"`
	Batch       int           `help:"Queries in a request." default:"64"`
	Pause       time.Duration `help:"Time between two requests of a client." default:"20ms"`
	BuilderFlag []string      `help:"One more flag of builders, such as --keep-for=1m." placeholder:"FLAG"`
	Dir         string        `help:"Where the campaign makes its folder." type:"path" default:"/tmp"`
}

func (c *command) Run() error {
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	t, err := Run(ctx, Options{Store: c.Store, Port: c.Port, Brokers: c.Brokers, Seed: c.Seed, First: c.First, Duration: c.Duration, Kills: c.Kills, Faults: c.Faults,
		Size: size{window: c.Window, kills: c.RoundKills, network: c.RoundLines, store: c.RoundStore, points: c.RoundPoints, clocks: c.RoundClocks, disks: c.RoundDisks, brokers: c.Brokers}, Damages: c.Damages,
		Items: c.Items, Rate: c.Rate, Batch: c.Batch, Pause: c.Pause, BuilderFlags: c.BuilderFlag, Dir: c.Dir, Out: os.Stdout})
	for _, f := range t.Faults {
		fmt.Println("WRONG:", f)
	}
	fmt.Printf("\nseed %d\n%s\n", c.Seed, t)
	if err != nil {
		return err
	}
	if len(t.Faults) > 0 {
		return fmt.Errorf("%d things are wrong", len(t.Faults))
	}
	return nil
}

func main() {
	k := kong.Parse(&command{}, kong.Name("torture"), kong.Description("Breaks whatever can break around an index and checks that it does not matter."))
	k.FatalIfErrorf(k.Run())
}
