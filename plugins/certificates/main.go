// Command certificates checks TLS certificates before their users do: when they expire, whether the chain is complete,
// in order and signed up to given roots, whether it is for the right hosts, and whether keys and signatures are strong.
//
// It fetches nothing: what a server presents and what is trusted comes in the payload.
package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"handlers/certificates/kiln"
)

// batch is the payload.
type batch struct {
	Certificates []entry `json:"certificates"`
	// Roots are trusted, in PEM. Without any, chains are checked as far as they reach.
	Roots string `json:"roots"`
	// MinDays is how many days a certificate has to have left.
	MinDays *int `json:"min_days"`
	// Now defaults to the clock.
	Now time.Time `json:"now"`
}

const defaultMinDays = 30

// entry is what one server presents.
type entry struct {
	Name string `json:"name"`
	// PEM is the chain: the server's own certificate first, each of the others having signed the one before it.
	PEM   string   `json:"pem"`
	Hosts []string `json:"hosts"`
}

// summary is the result.
type summary struct {
	Now          time.Time `json:"now"`
	Failing      int       `json:"failing"`
	Certificates []report  `json:"certificates"`
}

// report is what became of an entry.
type report struct {
	Name     string     `json:"name"`
	OK       bool       `json:"ok"`
	Expires  *time.Time `json:"expires,omitempty"`   // Of the chain's certificates, when the first one does;
	DaysLeft *int       `json:"days_left,omitempty"` // whole days until then, negative thereafter.
	Verdicts []verdict  `json:"verdicts"`
}

// verdict is what one check says.
type verdict struct {
	Check   string `json:"check"` // pem, expiry, chain, hosts or strength
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

func main() { kiln.Handle(handle) }

func handle(ctx context.Context, _ *kiln.Job, batch batch) (*summary, error) {
	rules, err := newRules(batch)
	if err != nil {
		return nil, kiln.Permanent(err)
	}
	summary := &summary{Now: rules.now, Certificates: []report{}}
	for i, entry := range batch.Certificates {
		// Half a batch is no answer: the next attempt does it all again, and may have more time.
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d certificates: %w", i, len(batch.Certificates), err)
		}
		report := rules.check(entry)
		if report.Name == "" {
			report.Name = fmt.Sprintf("certificate %d", i+1)
		}
		if !report.OK {
			summary.Failing++
		}
		summary.Certificates = append(summary.Certificates, report)
		kiln.Progress(100*(i+1)/len(batch.Certificates), report.Name)
	}
	slog.Info("checked certificates", "count", len(batch.Certificates), "failing", summary.Failing)
	return summary, nil
}

func newRules(batch batch) (*rules, error) {
	if len(batch.Certificates) == 0 {
		return nil, fmt.Errorf("payload: certificates: there are none")
	}
	rules := &rules{now: batch.Now, minDays: defaultMinDays}
	if rules.now.IsZero() {
		rules.now = time.Now().UTC().Truncate(time.Second)
	}
	if batch.MinDays != nil {
		rules.minDays = *batch.MinDays
	}
	if batch.Roots == "" {
		return rules, nil
	}
	roots, err := parse(batch.Roots)
	if err != nil {
		return nil, fmt.Errorf("payload: roots: %w", err)
	}
	rules.roots = x509.NewCertPool()
	for _, root := range roots {
		rules.roots.AddCert(root)
	}
	return rules, nil
}
