// Command {{name}} digests an order of a web shop: what its items cost in all, in how many lines.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"handlers/{{name}}/kiln"
)

const (
	maxCents    = 1_000_000_00
	maxQuantity = 1_000_000
)

type order struct {
	Customer string `json:"customer"`
	Items    []item `json:"items"`
	Express  bool   `json:"express"`
}

type item struct {
	Name       string `json:"name"`
	PriceCents int    `json:"price_cents"`
	Quantity   int    `json:"quantity"`
	Stock      string `json:"stock"`
}

type digest struct {
	Customer   string `json:"customer"`
	TotalCents int    `json:"total_cents"`
	Lines      int    `json:"lines"`
}

func main() { kiln.Handle(handle) }

func handle(_ context.Context, _ *kiln.Job, order order) (*digest, error) {
	if len(order.Items) == 0 {
		// The same order is no better the next time.
		return nil, kiln.Permanentf("an order has at least one item")
	}
	slog.Info(fmt.Sprintf("totalling %d items for %s", len(order.Items), order.Customer))
	digest := &digest{Customer: order.Customer, Lines: len(order.Items)}
	for i, item := range order.Items {
		cents, err := price(item)
		if err != nil {
			return nil, err
		}
		digest.TotalCents += cents
		kiln.Progress(100*(i+1)/len(order.Items), item.Name)
	}
	return digest, nil
}

// An HTTP request, once {{name}}.toml grants its origin. No answer, 429 and 5xx have the job tried again; 4xx does not.
//
// func stock(ctx context.Context, item string) (left int, err error) {
// 	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.example.com/stock/"+item, nil)
// 	if err != nil {
// 		return 0, kiln.Permanent(err)
// 	}
// 	resp, err := http.DefaultClient.Do(req)
// 	if err != nil {
// 		return 0, err
// 	}
// 	defer resp.Body.Close()
// 	if err := kiln.CheckStatus(resp); err != nil {
// 		return 0, err
// 	}
// 	return left, json.NewDecoder(resp.Body).Decode(&left)
// }

func price(item item) (cents int, err error) {
	switch {
	case item.Stock == "unknown":
		return 0, kiln.RetryAfterf(30*time.Second, "the stock of %s is not known yet", item.Name)
	case item.Quantity <= 0:
		return 0, kiln.Permanentf("the quantity of %s is not positive", item.Name)
	case item.PriceCents < 0:
		return 0, kiln.Permanentf("the price of %s is negative", item.Name)
	}
	// What has no upper bound overflows some day, without a word.
	if item.PriceCents > maxCents || item.Quantity > maxQuantity {
		return 0, kiln.Permanentf("%s costs more than can be paid", item.Name)
	}
	return item.PriceCents * item.Quantity, nil
}
