// Package sample is about 20,000 English words under a real Matryoshka encoder, for the demo.
//
// words.arrow is an Arrow IPC file: id utf8 (the word), class dictionary<utf8> (a hypernym from WordNet), vector
// fixed_size_list<float16>[256], unit length, trained at the prefixes of Ladder. bench/make_wordnet_mrl.py and
// bench/make_sample.py made it; LICENSE.WordNet beside it is WordNet's.
package sample

import _ "embed"

// Words is the file.
//
//go:embed words.arrow
var Words []byte

// Encoder is the encoder that the file's metadata names.
const Encoder = "wordnet-mrl-256"

// Ladder returns the trained prefix widths of Encoder.
func Ladder() []int { return []int{8, 16, 32, 64, 128, 256} }
