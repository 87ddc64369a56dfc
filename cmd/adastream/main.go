// Command adastream is the operator's tool: it makes an index, feeds it, asks it, looks into it, and can run all of it in
// one process.
package main

import (
	"github.com/adastream/adastream/cmd/internal/cli"
)

type command struct {
	Demo        demoCommand       `cmd:"" help:"See it work: streams 20,000 real embeddings through everything, searches all along, checks the result."`
	Standalone  standaloneCommand `cmd:"" help:"Run ingestor, builder and query node in one process, over an embedded broker and a directory or over yours."`
	Init        initCommand       `cmd:"" help:"Make an index: write its spec to the store, and the topic if it is missing."`
	Plan        planCommand       `cmd:"" help:"Say what an index of some size takes, and what binds first."`
	Produce     produceCommand    `cmd:"" help:"Send the rows of files to the index's topic, each to the partition of its id. What the index refuses is acknowledged too: quarantine ls tells."`
	Load        loadCommand       `cmd:"" help:"Make segments of an index straight from files, in any number of processes."`
	Search      searchCommand     `cmd:"" help:"Ask a query node."`
	Snapshot    snapshotCommand   `cmd:"" help:"Look at generations, and say which one is served."`
	Export      exportCommand     `cmd:"" help:"Write the rows of a generation as files that others read: Parquet, Arrow, numpy, FAISS."`
	Quarantine  quarantineCommand `cmd:"" help:"Look at what was refused."`
	Verify      verifyCommand     `cmd:"" help:"Read everything that the index names, and say what is missing, damaged or does not fit."`
	Rebuild     rebuildCommand    `cmd:"" help:"Make an index again in another place, from its topic or from its data objects alone."`
	Eval        evalCommand       `cmd:"" help:"Measure the systems of the Matryoshka and AdANNS papers, and this index, on labelled vectors."`
	Token       tokenCommand      `cmd:"" help:"Make tokens for query nodes."`
	Config      configCommand     `cmd:"" help:"Look at the configuration of daemons."`
	Completion  completionCommand `cmd:"" help:"Print a script that has a shell complete commands and flags: source <(adastream completion bash), or adastream completion fish | source."`
	Doctor      doctorCommand     `cmd:"" help:"Check what an index needs: store, clock, topic, generations, what was refused; if asked, a row all the way."`
	Version     versionCommand    `cmd:"" help:"Say which version this is, and which versions of stored formats it reads and writes."`
	cli.Logging `group:"Log and configuration:"`
}

func main() {
	c := &command{}
	cli.Main("adastream", "Live nearest-neighbour search over Matryoshka embeddings: a Kafka topic in, immutable snapshots out.", c, &c.Logging)
}
