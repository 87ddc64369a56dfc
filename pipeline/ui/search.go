package ui

import (
	"net/http"

	"github.com/adastream/adastream/schemas"
)

// searchPage is a form. Its script asks /v1/search as any client does, and shows what is answered.
type searchPage struct {
	Like  string // the id to begin with, "" for none
	Index searchIndex
}

// searchIndex is what the script has to know of the index.
type searchIndex struct {
	Ladder     []int               `json:"ladder"`
	Attributes []schemas.Attribute `json:"attributes"`
	Target     float64             `json:"target"`
	Measured   bool                `json:"measured"` // there are plans to choose from
	Exact      bool                `json:"exact"`    // an exact search compares originals
}

func (u *UI) search(w http.ResponseWriter, r *http.Request) {
	v := u.o.Node.View()
	p := &searchPage{Like: r.URL.Query().Get("like"), Index: searchIndex{Ladder: v.Spec.Ladder, Attributes: v.Spec.Attributes, Target: v.Spec.Defaults.TargetRecall, Exact: v.Exact}}
	if len(p.Like) > schemas.MaxIDBytes {
		u.missing(w, r, "No row has an ID that long")
		return
	}
	if v.Manifest != nil {
		p.Index.Measured = len(v.Manifest.Plans) > 0
	}
	u.show(w, r, http.StatusOK, "search", "Search", v, nil, p)
}
