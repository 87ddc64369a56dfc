// Package eval measures the systems of "Matryoshka Representation Learning" (Kusupati et al., NeurIPS 2022) and of
// "AdANNS" (Rege et al., NeurIPS 2023) on a matrix of rows with labels, and this product's own index beside them.
//
// A [System] is a configuration and not code. It has at most three steps, and each says by a [View] which part of which
// encoder's vectors it looks at:
//
//	coarse   nlist centroids of one view; the rows of the nprobe best lists go on, all rows if there is no such step
//	scan     these rows are scored on another view, as floats or as codes of a product quantiser
//	rerank   the best are scored again, once or several times, on wider and wider views
//
// So exact search on a prefix is a scan alone, adaptive retrieval a scan and one rerank, a funnel several of them; an
// inverted file whose two views are one encoder of width d is rigid, with two prefixes of one Matryoshka vector it is
// AdANNS-IVF, with two encoders it is MG-IVF. [Catalogue] names them all. What the papers' search does is what the code
// here does, in a plain way and on one thread; the product's own index is run through its own packages, see [Product].
//
// # What has to hold
//
// A view is of unit length: a prefix is scaled after it is cut, as the papers do and as encoders are trained. Rows are
// scaled; queries need not be, since a positive factor does not change the order of a query's rows. Where a system looks
// at a prefix of what it was built on (AdANNS-D), centroids are the directions of means of full vectors, cut, and scaled
// again. Residuals are taken from the mean of the rows' own view, and codes are of rotated residuals.
//
// # Cost
//
// The papers count multiply-adds of a query and suppose that lists are balanced; [System.Cost] continues their formula to
// codes and reranking:
//
//	d_c nlist                          centroids
//	+ nprobe/nlist N d_s               rows, as floats; or
//	+ nprobe/nlist N m + d_s^2 + 16 d_s   rows as codes of m sub-quantisers: look-ups, and the rotation and table of the query
//	or + nprobe/nlist N b + (rows scored whole) (d_s - b)   rows whose first b dimensions bound the score
//	+ sum of keep dims                 rows of each rerank
//	+ D d                              for each view that the query has to be projected to
//
// A look-up and its addition count as one multiply-add. What lists really held is counted too: see [Result.Counted].
package eval
