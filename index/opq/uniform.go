package opq

// Uniform is a quantiser as others know product quantisers: one linear map of the whole vector, and sub-quantisers of equal width.
// Any quantiser is one. Where a sub-quantiser is narrower than the widest, its dimensions are followed by some that are zero in
// every vector and codeword; dimensions that none codes go to further sub-quantisers, whose codewords are all zero. The map has
// orthonormal columns, so inner products are what they were, of codes too.
type Uniform struct {
	Width     int       // of a sub-quantiser
	Subs      int       // the M of the quantiser, then those that code nothing
	Map       []float32 // [Subs*Width][Dim] row-major: mapped = Map * vector
	Codebooks []float32 // [Subs][16][Width]
}

// CodeBytes is the size of a code: that of the quantiser, and zeros behind it.
func (u *Uniform) CodeBytes() int { return (u.Subs + 1) / 2 }

// Uniform returns the quantiser in that form.
func (q *Quantizer) Uniform() *Uniform {
	u := &Uniform{}
	for _, s := range q.layout.bounds {
		u.Width = max(u.Width, s.width())
	}
	uncoded := 0
	for _, b := range q.layout.blocks {
		if b.first == b.last {
			uncoded += b.width()
		}
	}
	dim := q.Dim()
	u.Subs = q.M() + (uncoded+u.Width-1)/u.Width
	u.Map = make([]float32, u.Subs*u.Width*dim)
	u.Codebooks = make([]float32, u.Subs*Codewords*u.Width)
	at, book, free := 0, 0, q.M()*u.Width
	for _, b := range q.layout.blocks {
		w := b.width()
		row := func(to, rotated int) { // of the map: a rotated dimension of the block
			copy(u.Map[to*dim+b.start:], q.rotation[at+rotated*w:][:w])
		}
		for s := b.first; s < b.last; s++ {
			bounds := q.layout.bounds[s]
			for i := range bounds.width() {
				row(s*u.Width+i, bounds.start-b.start+i)
			}
			for word := range Codewords {
				copy(u.Codebooks[(s*Codewords+word)*u.Width:], q.codebooks[book:][:bounds.width()])
				book += bounds.width()
			}
		}
		if b.first == b.last {
			for i := range w {
				row(free, i)
				free++
			}
		}
		at += w * w
	}
	return u
}
