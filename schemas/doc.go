// Package schemas holds the contracts of Adastream and no logic beyond checking them: the index spec, the messages
// that arrive from Kafka, the Arrow files that are stored, and the JSON records that tie them together.
//
// Every data object is a plain Arrow IPC file (uncompressed, one record batch), so pyarrow, DuckDB and polars open
// it as it is and a query node maps it without copying. Every control object is one JSON document. docs/formats.md
// describes each of them precisely enough for a second implementation; the golden tests pin the bytes.
//
// Names of objects are not here: only package pipeline/commit knows them.
package schemas
