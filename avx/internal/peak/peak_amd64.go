package peak

// FMA runs steps > 0 steps of 10 independent chains of 256 bit FMA, enough to hide a latency
// of 5 cycles at two per cycle. It needs the CPU features AVX and FMA3.
//
//go:noescape
func FMA(steps int)

// FMA512 is FMA of 512 bits. It needs AVX-512 F.
//
//go:noescape
func FMA512(steps int)
