// Command adastream is the operator's tool: it makes an index, feeds it, asks it, looks into it, and can run all of it in
// one process.
package main

import (
	"github.com/adastream/adastream/cmd/internal/cli"
)

type command struct {
	Demo        demoCommand       `cmd:"" group:"Getting started:" help:"Try it: stream 20,000 real embeddings through all roles, search meanwhile, and check the result."`
	Standalone  standaloneCommand `cmd:"" group:"Getting started:" help:"Run ingestor, builder and query node in one process, with an embedded broker and a local directory, or with your own broker and store."`
	Plan        planCommand       `cmd:"" group:"Building and searching an index:" help:"Estimate what an index needs: memory, disk, cores, latency and, with prices, cost. Says which limit is reached first."`
	Init        initCommand       `cmd:"" group:"Building and searching an index:" help:"Create an index: write its spec to the store, and create its topic if it does not exist."`
	Produce     produceCommand    `cmd:"" group:"Building and searching an index:" help:"Send the rows of files to the topic of an index, each to the partition of its ID. Rows that the index refuses are acknowledged too; see quarantine ls."`
	Load        loadCommand       `cmd:"" group:"Building and searching an index:" help:"Bulk load files into an index without the topic, in any number of processes."`
	Search      searchCommand     `cmd:"" group:"Building and searching an index:" help:"Search on a query node."`
	Export      exportCommand     `cmd:"" group:"Building and searching an index:" help:"Export the rows of a generation to Parquet, Arrow, numpy or FAISS."`
	Doctor      doctorCommand     `cmd:"" group:"Operation:" help:"Check what an index depends on: store, clock, topic, generations and quarantine. With --produce, send a row all the way through."`
	Snapshot    snapshotCommand   `cmd:"" group:"Operation:" help:"Inspect generations, and choose which one is served."`
	Quarantine  quarantineCommand `cmd:"" group:"Operation:" help:"Inspect, replay or drop refused rows."`
	Verify      verifyCommand     `cmd:"" group:"Operation:" help:"Read everything that an index refers to, and report what is missing, damaged or inconsistent."`
	Rebuild     rebuildCommand    `cmd:"" group:"Operation:" help:"Rebuild an index in another place."`
	Token       tokenCommand      `cmd:"" group:"Operation:" help:"Create tokens for query nodes."`
	Config      configCommand     `cmd:"" group:"Operation:" help:"Inspect the configuration of a daemon."`
	Eval        evalCommand       `cmd:"" group:"Other:" help:"Measure the systems of the Matryoshka and AdANNS papers, and this index, on labelled vectors."`
	Completion  completionCommand `cmd:"" group:"Other:" help:"Print a shell script that completes commands and flags. bash and zsh: source <(adastream completion bash); fish: adastream completion fish | source."`
	Version     versionCommand    `cmd:"" group:"Other:" help:"Print the version, and the versions of stored formats that it reads and writes."`
	cli.Logging `group:"Log and configuration:"`
}

func main() {
	c := &command{}
	cli.Main("adastream", "Live nearest-neighbour search over Matryoshka embeddings: a Kafka topic in, immutable snapshots out.", c, &c.Logging)
}
