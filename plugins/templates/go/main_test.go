package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"handlers/{{name}}/kiln"
)

var tea = item{Name: "tea", PriceCents: 450, Quantity: 2}

func TestAddsUpWhatTheItemsCost(t *testing.T) {
	cup := item{Name: "cup", PriceCents: 800, Quantity: 1}
	got, err := handle(t.Context(), &kiln.Job{}, order{Customer: "Ada", Items: []item{tea, cup}})
	if err != nil {
		t.Fatal(err)
	}
	if want := (digest{Customer: "Ada", TotalCents: 1700, Lines: 2}); *got != want {
		t.Errorf("got %v, want %v", *got, want)
	}
}

func TestWaitsForTheStock(t *testing.T) {
	unknown := tea
	unknown.Stock = "unknown"
	_, err := handle(t.Context(), &kiln.Job{}, order{Items: []item{tea, unknown}})
	var later *kiln.RetryAfterError
	if !errors.As(err, &later) || later.After != 30*time.Second {
		t.Errorf("got %v", err)
	}
}

func TestRefusesWhatCannotBeOrdered(t *testing.T) {
	for want, items := range map[string][]item{
		"an order has at least one item":      {},
		"the quantity of tea is not positive": {{Name: "tea", PriceCents: 450, Quantity: 0}},
		"the price of tea is negative":        {{Name: "tea", PriceCents: -1, Quantity: 1}},
	} {
		_, err := handle(t.Context(), &kiln.Job{}, order{Items: items})
		var permanent *kiln.PermanentError
		if !errors.As(err, &permanent) || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestGoesFromJSONToJSON(t *testing.T) {
	payload := `{"customer": "Ada", "items": [{"name": "tea", "price_cents": 450, "quantity": 2}], "express": false}`
	got, err := kiln.Run(t.Context(), &kiln.Job{Payload: json.RawMessage(payload)}, handle)
	if want := `{"customer":"Ada","total_cents":900,"lines":1}`; string(got) != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestSaysWhatIsWrongWithAPayload(t *testing.T) {
	_, err := kiln.Run(t.Context(), &kiln.Job{Payload: json.RawMessage(`{"customer": 7}`)}, handle)
	if want := "payload: customer: expected string, got number"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}
