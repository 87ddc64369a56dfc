// Package access says who may ask a node what: bearer tokens of a file, each with scopes and limits, and TLS. What files say is
// taken while requests run, and a file that is broken changes nothing.
//
// A tokens file has a line for each token; `adastream token new` makes one, # begins a comment:
//
//	# name  SHA-256 of the token, in hex     scopes         limits, all optional
//	web     2c26b46b68ffc68ff99b453c1d304... search         rate=200 burst=400 concurrent=16
//	ops     fcde2b2edba56bf408601fb721fe9... search,admin
//
// The file holds hashes, so who reads it cannot use it. SHA-256 alone is enough for what it is made of: tokens are random and
// have at least 128 bits, so there is nothing to guess. Passwords that people think up do not belong here.
package access
