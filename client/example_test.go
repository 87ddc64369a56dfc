package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/adastream/adastream/client"
)

func Example() {
	node := httptest.NewServer(http.HandlerFunc(aNode)) // in place of yours
	defer node.Close()

	c, err := client.New(node.URL, client.Options{Token: "secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	wish := client.How{K: 2, TargetRecall: 0.95, Filter: []byte(`{"class":"musical instrument"}`)}
	answer, err := c.Search(context.Background(), client.Query{Like: "guitar", How: wish})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, hit := range answer.Hits {
		fmt.Println(hit.ID, hit.Score, hit.Attributes["class"])
	}
	fmt.Println("generation", answer.Snapshot.Generation)

	wish.K = 5000
	_, err = c.Search(context.Background(), client.Query{Like: "guitar", How: wish})
	var refused *client.Problem
	if errors.As(err, &refused) {
		fmt.Println(refused.Code, "-", refused.Detail, "- allowed:", refused.Allowed)
	}
	// Output:
	// zither 0.805 musical instrument
	// marimba 0.8 musical instrument
	// generation 16
	// invalid - k: 5000 - allowed: 1 to 1000
}

// aNode answers two requests as a node does.
func aNode(w http.ResponseWriter, r *http.Request) {
	var body strings.Builder
	_ = r.Write(&body)
	if strings.Contains(body.String(), `"k":5000`) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"code":"invalid","title":"invalid request","status":400,"detail":"k: 5000","allowed":"1 to 1000"}`)
		return
	}
	fmt.Fprint(w, `{"hits":[{"id":"zither","score":0.805,"attributes":{"class":"musical instrument"}},
		{"id":"marimba","score":0.8,"attributes":{"class":"musical instrument"}}],"snapshot":{"generation":16}}`)
}
